"""API keys are made, replaced and taken back; the secret of one is told once and kept nowhere."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.goals.domain.api_keys import NOT_AHEAD, ApiKey, Scope, faults_of
from services.goals.domain.people import next_version
from services.goals.domain.refusal import Impossible, Invalid, Missing
from services.goals.store import api_keys
from services.goals.use_cases.announcements import announce_api_keys
from shared.auth.api_keys import hash_of, key_text, new_secret
from shared.events.goals import Role
from shared.ids import new_id
from shared.language import Text

_ENDED: Text = {"zh": "该密钥已被吊销或已过期", "en": "this key is revoked or has expired"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewApiKey:
    """A key that is wanted."""

    name: str
    role: Role
    person: str | None
    scopes: tuple[Scope, ...]
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A new key and its whole text, which nobody will ever see again."""

    key: ApiKey
    text: str


async def add_key(tx: AsyncConnection, new: NewApiKey, by: str, now: datetime) -> MadeKey:
    """Make a key. Raises Invalid with everything that is wrong with it."""
    faults = faults_of(new.role, new.person, new.scopes, new.expires_at, now)
    if faults:
        raise Invalid(faults)
    return await _make(tx, new, None, by, now)


async def replace_key(
    tx: AsyncConnection,
    key_id: UUID,
    overlap: timedelta,
    expires_at: datetime | None,
    check: Callable[[int], None],
    by: str,
    now: datetime,
) -> MadeKey:
    """Make a key that may do what `key_id` may; the old one ends after `overlap`.

    Raises Missing, Impossible (the old one has ended) and Invalid.
    """
    old = await api_keys.get(tx, key_id, lock=True)
    if old is None:
        raise Missing("api_key")
    check(old.version)
    if old.state_at(now) != "active":
        raise Impossible("api_key_ended", _ENDED)
    if expires_at is not None and expires_at <= now:
        raise Invalid([NOT_AHEAD])
    wanted = NewApiKey(name=old.name, role=old.role, person=old.person, scopes=old.scopes, expires_at=expires_at)
    made = await _make(tx, wanted, old.id, by, now)
    await _change(tx, old.ending(now, overlap), now)
    return made


async def revoke_key(tx: AsyncConnection, key_id: UUID, check: Callable[[int], None], now: datetime) -> None:
    """Take a key back for good; once more changes nothing. Raises Missing."""
    key = await api_keys.get(tx, key_id, lock=True)
    if key is None:
        raise Missing("api_key")
    check(key.version)
    if key.revoked_at is None:
        await _change(tx, key.revoked(now), now)


async def _make(tx: AsyncConnection, new: NewApiKey, replaces: UUID | None, by: str, now: datetime) -> MadeKey:
    secret = new_secret()
    key = ApiKey(
        id=new_id(),
        name=new.name,
        hash=hash_of(secret),
        role=new.role,
        person=new.person,
        scopes=new.scopes,
        expires_at=new.expires_at,
        replaces=replaces,
        created_by=by,
        created_at=now,
        revoked_at=None,
        last_used_at=None,
        version=next_version(0, now),
    )
    await api_keys.add(tx, key)
    await announce_api_keys(tx, [key.changed(now)])
    return MadeKey(key, key_text(key.id, secret))


async def _change(tx: AsyncConnection, key: ApiKey, now: datetime) -> None:
    await api_keys.save(tx, key, now)
    await announce_api_keys(tx, [key.changed(now)])
