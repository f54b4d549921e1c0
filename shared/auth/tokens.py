"""Verifies bearer tokens (JWT) against a configured key set and turns their claims into a principal."""

import binascii
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, cast, get_args

from joserfc import jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import KeySet
from joserfc.jwt import JWTClaimsRegistry

from shared.auth.principal import Principal, Role
from shared.clock import Clock, utc_now

# Asymmetric only: a public key must never be accepted as the secret of an HMAC, and never "none".
ALGORITHMS = ("ES256", "RS256", "EdDSA", "Ed25519")
LEEWAY_SECONDS = 60
LARGEST_TOKEN = 8192
LONGEST_SUBJECT = 255
REMEMBERED = 4096
REREAD_AFTER_SECONDS = 30
# From the least to the most that a role may see.
ROLES: tuple[Role, ...] = get_args(Role)

KeySetDocument = Mapping[str, Any]


class TokenRefused(Exception):  # noqa: N818 - the name of the fact
    """A bearer token that is no proof of who asks; the message says why, for the log."""


class TokenVerifier:
    """Checks signature, issuer, audience, expiry and not-before (60 s of leeway) of ES256, RS256 and EdDSA tokens.

    A verified token is remembered by its text until it expires, so that its next use costs a look-up.
    """

    def __init__(
        self, keys: KeySetDocument, issuer: str, audience: str, *, clock: Clock = utc_now, file: Path | None = None
    ) -> None:
        self._keys = KeySet.import_key_set(cast("Any", dict(keys)))
        self._file = file
        self._clock = clock
        self._read_at = clock().timestamp()
        self._expected = {
            "iss": {"essential": True, "value": issuer},
            "aud": {"essential": True, "value": audience},
            "sub": {"essential": True},
            "exp": {"essential": True},
        }
        self._remembered: dict[str, tuple[float, Principal]] = {}

    @classmethod
    def from_file(cls, path: Path, issuer: str, audience: str, *, clock: Clock = utc_now) -> Self:
        """Read a JWKS file; it is read again (at most every 30 s) when a token names a key that is not in it."""
        return cls(_read_key_set(path), issuer, audience, clock=clock, file=path)

    def verify(self, token: str) -> Principal:
        """Return who `token` speaks for; raises TokenRefused."""
        now = self._clock().timestamp()
        known = self._remembered.get(token)
        if known is not None and now < known[0]:
            return known[1]
        claims = self._verified_claims(token, now)
        principal = principal_of(claims)
        self._remember(token, float(claims["exp"]), principal)
        return principal

    def _verified_claims(self, token: str, now: float) -> dict[str, Any]:
        if len(token) > LARGEST_TOKEN:
            message = "the token is too long"
            raise TokenRefused(message)
        try:
            self._reread_for(token, now)
            claims = _decoded(token, self._keys)
            JWTClaimsRegistry(now=int(now), leeway=LEEWAY_SECONDS, **cast("Any", self._expected)).validate(claims)
        except (JoseError, ValueError, binascii.Error, TypeError, RecursionError) as error:
            # Besides its own errors the library lets those of base64 and JSON through.
            raise TokenRefused(str(error)) from error
        return claims

    def _reread_for(self, token: str, now: float) -> None:
        """Read the key file again when the token's key is unknown: keys rotate while we run."""
        if self._file is None or now - self._read_at < REREAD_AFTER_SECONDS:
            return
        key_id = _key_id(token)
        if key_id is None or any(key.kid == key_id for key in self._keys.keys):
            return
        self._read_at = now
        try:
            self._keys = KeySet.import_key_set(cast("Any", _read_key_set(self._file)))
        except (OSError, ValueError, JoseError):
            # Half written or gone for the moment: the last good set stays in force.
            return
        self._remembered.clear()

    def _remember(self, token: str, expires: float, principal: Principal) -> None:
        while len(self._remembered) >= REMEMBERED:
            self._remembered.pop(next(iter(self._remembered)))
        self._remembered[token] = (expires, principal)


def principal_of(claims: Mapping[str, Any]) -> Principal:
    """Return the principal of verified claims (`sub`, `role` or `roles`, `person`); raises TokenRefused."""
    subject, person = claims.get("sub"), claims.get("person")
    if not _is_name(subject) or not (person is None or _is_name(person)):
        message = "sub and person must be texts of at most 255 printable characters"
        raise TokenRefused(message)
    told = claims.get("roles")
    named = [claims.get("role"), *(told if isinstance(told, list) else [])]
    roles = [role for role in ROLES if role in named]
    if not roles:
        message = "the token names no role of rep, manager, admin"
        raise TokenRefused(message)
    return Principal(str(subject), roles[-1], None if person is None else str(person))


def _decoded(token: str, keys: KeySet) -> dict[str, Any]:
    with warnings.catch_warnings():
        # Issuers still write EdDSA where RFC 9864 would now have them write Ed25519.
        warnings.simplefilter("ignore", SecurityWarning)
        return jwt.decode(token, keys, algorithms=ALGORITHMS).claims


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_SUBJECT and value.isprintable()


def _key_id(token: str) -> str | None:
    head = token.split(".", 1)[0].encode()
    header = json.loads(binascii.a2b_base64(head.replace(b"-", b"+").replace(b"_", b"/") + b"=="))
    found = header.get("kid") if isinstance(header, dict) else None
    return found if isinstance(found, str) else None


def _read_key_set(path: Path) -> KeySetDocument:
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict):
        message = f"{path} is no JSON Web Key Set"
        raise ValueError(message)
    return document
