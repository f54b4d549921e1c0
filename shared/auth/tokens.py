"""Verifies bearer tokens (JWT) against a configured key set and turns their claims into a principal."""

import binascii
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, cast

from joserfc import jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import KeySet
from joserfc.jwt import JWTClaimsRegistry

from shared.auth.claims import ClaimPaths
from shared.auth.issuer_keys import IssuerKeys
from shared.auth.principal import Principal
from shared.auth.refusal import TokenRefused
from shared.clock import Clock, utc_now

__all__ = ["REMEMBERED", "TokenRefused", "TokenVerifier"]

# Asymmetric only: a public key must never be accepted as the secret of an HMAC, and never "none".
ALGORITHMS = ("ES256", "RS256", "EdDSA", "Ed25519")
LEEWAY_SECONDS = 60
LARGEST_TOKEN = 8192
REMEMBERED = 4096
REREAD_AFTER_SECONDS = 30

KeySetDocument = Mapping[str, Any]


class TokenVerifier:
    """Checks signature, issuer, audience, expiry and not-before (60 s of leeway) of ES256, RS256 and EdDSA tokens.

    A verified token is remembered by its text until it expires, so that its next use costs a look-up; all are forgotten
    when the key set changes, so that a key which the issuer took back is honoured no longer.
    """

    def __init__(
        self,
        keys: KeySetDocument | IssuerKeys,
        issuer: str,
        audience: str,
        *,
        clock: Clock = utc_now,
        file: Path | None = None,
        claims: ClaimPaths | None = None,
    ) -> None:
        self.issuer_keys = keys if isinstance(keys, IssuerKeys) else None
        self._keys = KeySet([]) if isinstance(keys, IssuerKeys) else _key_set(keys)
        self._file = file
        self._clock = clock
        self._claims = claims or ClaimPaths()
        self._read_at = clock().timestamp()
        self._expected = {
            "iss": {"essential": True, "value": issuer},
            "aud": {"essential": True, "value": audience},
            "sub": {"essential": True},
            "exp": {"essential": True},
        }
        self._remembered: dict[str, tuple[float, Principal]] = {}

    @classmethod
    def from_file(
        cls, path: Path, issuer: str, audience: str, *, clock: Clock = utc_now, claims: ClaimPaths | None = None
    ) -> Self:
        """Read a JWKS file; it is read again (at most every 30 s) when a token names a key that is not in it."""
        return cls(_read_key_set(path), issuer, audience, clock=clock, file=path, claims=claims)

    def known(self, token: str) -> Principal | None:
        """Return who a remembered token speaks for, at the price of a look-up; None for every other text."""
        found = self._remembered.get(token)
        if found is None:
            return None
        now = self._clock().timestamp()
        return found[1] if now < found[0] and self._keys_are_current(now) else None

    async def admit(self, token: str) -> Principal:
        """Return who `token` speaks for, asking the issuer for its keys when need be; raises TokenRefused."""
        if self.issuer_keys is not None and len(token) <= LARGEST_TOKEN:
            await self.issuer_keys.prepare_for(_key_id(token))
        return self.verify(token)

    def verify(self, token: str) -> Principal:
        """Return who `token` speaks for by the keys that are at hand; raises TokenRefused."""
        known = self.known(token)
        if known is not None:
            return known
        now = self._clock().timestamp()
        self._keys_are_current(now)
        claims = self._verified_claims(token, now)
        principal = self._claims.principal_of(claims)
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

    def _keys_are_current(self, now: float) -> bool:
        """Take over the issuer's present keys; False when they were others, and so nothing is remembered any more."""
        if self.issuer_keys is None:
            return True
        present = self.issuer_keys.present(now)
        if present is self._keys:
            return True
        self._keys = present
        self._remembered.clear()
        return False

    def _reread_for(self, token: str, now: float) -> None:
        """Read the key file again when the token's key is unknown: keys rotate while we run."""
        if self._file is None or now - self._read_at < REREAD_AFTER_SECONDS:
            return
        key_id = _key_id(token)
        if key_id is None or any(key.kid == key_id for key in self._keys.keys):
            return
        self._read_at = now
        try:
            self._keys = _key_set(_read_key_set(self._file))
        except (OSError, ValueError, JoseError):
            # Half written or gone for the moment: the last good set stays in force.
            return
        self._remembered.clear()

    def _remember(self, token: str, expires: float, principal: Principal) -> None:
        while len(self._remembered) >= REMEMBERED:
            self._remembered.pop(next(iter(self._remembered)))
        self._remembered[token] = (expires, principal)


def _decoded(token: str, keys: KeySet) -> dict[str, Any]:
    with warnings.catch_warnings():
        # Issuers still write EdDSA where RFC 9864 would now have them write Ed25519.
        warnings.simplefilter("ignore", SecurityWarning)
        return jwt.decode(token, keys, algorithms=ALGORITHMS).claims


def _key_id(token: str) -> str | None:
    """Return the `kid` that a token names, unverified; None when there is none to be read."""
    try:
        head = token.split(".", 1)[0].encode()
        header = json.loads(binascii.a2b_base64(head.replace(b"-", b"+").replace(b"_", b"/") + b"=="))
    except (ValueError, RecursionError):
        return None
    found = header.get("kid") if isinstance(header, dict) else None
    return found if isinstance(found, str) else None


def _key_set(document: KeySetDocument) -> KeySet:
    return KeySet.import_key_set(cast("Any", dict(document)))


def _read_key_set(path: Path) -> KeySetDocument:
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict):
        message = f"{path} is no JSON Web Key Set"
        raise ValueError(message)
    return document
