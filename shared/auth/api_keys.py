"""API keys of machines: their text, and who they speak for by the directory of the service's own database.

A key is `sg_<id>_<secret>`: the id finds the row, the secret (256 random bits) proves it. Only the SHA-256 of the
secret is kept anywhere; a random secret of that size needs no slow hash.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text

from shared.auth.principal import Principal
from shared.auth.refusal import TokenRefused
from shared.clock import Clock, utc_now
from shared.db.engine import Database

PREFIX = "sg_"
# A key that is taken back is honoured for this long at most, after its event has come.
CACHED_SECONDS = 2.0
CACHED_KEYS = 1024
SUBJECT_PREFIX = "api-key:"
_SECRET_BYTES = 32
_ID_DIGITS = 32

_FIND = text("SELECT hash, role, person, scopes, expires_at FROM directory_api_key WHERE key_id = :id AND NOT deleted")


class _Cached(NamedTuple):
    until: float
    key_id: UUID
    principal: Principal


def new_secret() -> str:
    """Return the secret of a new key: 256 random bits as 43 URL-safe characters."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def hash_of(secret: str) -> str:
    """Return the SHA-256 of a secret in hexadecimal: what is stored and announced."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def key_text(key_id: UUID, secret: str) -> str:
    """Return the whole key, as a machine sends it."""
    return f"{PREFIX}{key_id.hex}_{secret}"


def looks_like_key(token: str) -> bool:
    """Tell whether a bearer token is meant as an API key; a JWT never is."""
    return token.startswith(PREFIX)


class ApiKeys:
    """Verifies keys by `directory_api_key`, remembering each for CACHED_SECONDS; notes when each was last used."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock
        self._cached: dict[str, _Cached] = {}
        self._used: dict[UUID, datetime] = {}

    def known(self, token: str) -> Principal | None:
        """Return who a key speaks for that was verified a moment ago; None for every other text."""
        found = self._cached.get(token)
        if found is None:
            return None
        now = self._clock()
        if now.timestamp() >= found.until:
            return None
        self._used[found.key_id] = now
        return found.principal

    async def admit(self, token: str) -> Principal:
        """Return who `token` speaks for; raises TokenRefused, and what the database raises when it is away."""
        known = self.known(token)
        if known is not None:
            return known
        key_id, secret = _parts(token)
        async with self._database.transaction() as tx:
            row = (await tx.execute(_FIND, {"id": key_id})).one_or_none()
        if row is None or not hmac.compare_digest(hash_of(secret), row.hash):
            message = f"the API key {key_id} is unknown, taken back, or has another secret"
            raise TokenRefused(message)
        now = self._clock()
        if row.expires_at is not None and row.expires_at <= now:
            message = f"the API key {key_id} has expired"
            raise TokenRefused(message)
        principal = Principal(f"{SUBJECT_PREFIX}{key_id}", row.role, row.person, frozenset(row.scopes))
        self._remember(token, key_id, principal, row.expires_at)
        return principal

    def _remember(self, token: str, key_id: UUID, principal: Principal, expires_at: datetime | None) -> None:
        now = self._clock()
        until = now.timestamp() + CACHED_SECONDS
        if expires_at is not None:
            until = min(until, expires_at.timestamp())
        while len(self._cached) >= CACHED_KEYS:
            self._cached.pop(next(iter(self._cached)))
        self._cached[token] = _Cached(until, key_id, principal)
        self._used[key_id] = now

    def take_uses(self) -> Mapping[UUID, datetime]:
        """Return when each key was last used since the last call, and forget it."""
        taken, self._used = self._used, {}
        return taken

    def give_back(self, uses: Mapping[UUID, datetime]) -> None:
        """Keep uses that could not be told to the owner, to be told with the next ones."""
        self._used = {**uses, **self._used}


def within(scopes: Iterable[str], service: str, *, writes: bool) -> bool:
    """Tell whether `scopes` allow a request to `service`; who may write may also read."""
    return f"{service}:write" in scopes or (not writes and f"{service}:read" in scopes)


def _parts(token: str) -> tuple[UUID, str]:
    key_id, _, secret = token.removeprefix(PREFIX).partition("_")
    try:
        if len(key_id) != _ID_DIGITS:
            raise ValueError(key_id)
        return UUID(hex=key_id), secret
    except ValueError:
        message = "the API key is malformed"
        raise TokenRefused(message) from None
