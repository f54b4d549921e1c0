"""Issues tokens for development and tests with a key of its own; never in production."""

import contextlib
import json
import os
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any, Self, cast

from joserfc import jwt
from joserfc.jwk import ECKey

from shared.auth.principal import Role
from shared.auth.tokens import TokenVerifier
from shared.clock import Clock, utc_now

ISSUER = "salesgrain-development"
AUDIENCE = "salesgrain"
LIFETIME = timedelta(days=30)


class DevelopmentIssuerRefused(Exception):  # noqa: N818 - the name of the fact
    """Somebody asked for the development issuer in production."""


class DevelopmentIssuer:
    """An ES256 key with which anybody who can read it may become anybody: for laptops and tests only."""

    def __init__(self, key: ECKey, clock: Clock = utc_now) -> None:
        self._key = key
        self._clock = clock

    @classmethod
    def create(cls, clock: Clock = utc_now) -> Self:
        """Return an issuer with a fresh key that is kept nowhere."""
        return cls(_new_key(), clock)

    @classmethod
    def load_or_create(cls, path: Path, *, environment: str = "development") -> Self:
        """Return the issuer whose key is in the file `path` (mode 0600), made when there is none.

        Raises DevelopmentIssuerRefused when `environment` is production.
        """
        if environment == "production":
            message = "ENVIRONMENT is production: the development issuer does not run; set AUTH_JWKS_FILE instead"
            raise DevelopmentIssuerRefused(message)
        if not path.exists():
            _write_once(path, json.dumps(_new_key().as_dict(private=True)))
        return cls(ECKey.import_key(json.loads(path.read_text(encoding="utf-8"))))

    def token(
        self,
        role: Role | str,
        person: str | None = None,
        lifetime: timedelta = LIFETIME,
        *,
        issuer: str = ISSUER,
        audience: str = AUDIENCE,
    ) -> str:
        """Return a bearer token for a role and, for rep and manager, the person (id or external id) who has it."""
        now = int(self._clock().timestamp())
        claims: dict[str, Any] = {
            "iss": issuer,
            "aud": audience,
            "sub": f"{role}:{person}" if person else str(role),
            "role": str(role),
            "iat": now,
            "exp": now + int(lifetime.total_seconds()),
        }
        if person:
            claims["person"] = person
        return jwt.encode({"alg": "ES256", "kid": self._key.kid or ""}, claims, self._key, algorithms=["ES256"])

    def jwks(self) -> dict[str, Any]:
        """Return the public key set."""
        return {"keys": [cast("dict[str, Any]", self._key.as_dict(private=False))]}

    def key_set_text(self) -> str:
        """Return the public key set as the content of a JWKS file."""
        return json.dumps(self.jwks())

    def verifier(self, issuer: str = ISSUER, audience: str = AUDIENCE) -> TokenVerifier:
        """Return the verifier that trusts this issuer: the same code that checks real issuers."""
        return TokenVerifier(self.jwks(), issuer, audience, clock=self._clock)


def _new_key() -> ECKey:
    return ECKey.generate_key("P-256", {"kid": secrets.token_hex(8), "use": "sig", "alg": "ES256"}, auto_kid=False)


def _write_once(path: Path, content: str) -> None:
    """Write a file nobody else can read; of two writers at once the first wins and both read its file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()
