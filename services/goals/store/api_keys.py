"""Rows of API keys."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.goals.domain.api_keys import ApiKey
from services.goals.store.tables import api_key
from shared.events.goals import ApiKeyChanged

# Not a change of the key: it raises no version and is told to nobody.
_USED = text(
    """
    UPDATE api_key SET last_used_at = used.at
    FROM unnest(CAST(:ids AS uuid[]), CAST(:times AS timestamptz[])) AS used (id, at)
    WHERE api_key.id = used.id AND (last_used_at IS NULL OR last_used_at < used.at)
    """
)


async def add(tx: AsyncConnection, new: ApiKey) -> None:
    """Insert a key."""
    await tx.execute(insert(api_key).values(_to_row(new) | {"recorded_at": new.created_at}))


async def save(tx: AsyncConnection, changed: ApiKey, recorded_at: datetime) -> None:
    """Write a key that the caller has locked."""
    values = _to_row(changed) | {"recorded_at": recorded_at}
    # When it was last used is written by those who see it used, without this lock's knowledge.
    del values["last_used_at"]
    await tx.execute(update(api_key).where(api_key.c.id == changed.id).values(values))


async def get(tx: AsyncConnection, key_id: UUID, *, lock: bool = False) -> ApiKey | None:
    """Return a key, revoked or not; locked when asked."""
    query = select(api_key).where(api_key.c.id == key_id)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return _to_key(row) if row else None


async def page(tx: AsyncConnection, *, after: UUID | None, limit: int) -> list[ApiKey]:
    """Return keys by id behind `after`."""
    wanted = [] if after is None else [api_key.c.id > after]
    rows = await tx.execute(select(api_key).where(*wanted).order_by(api_key.c.id).limit(limit))
    return [_to_key(row) for row in rows]


async def note_uses(tx: AsyncConnection, uses: Mapping[UUID, datetime]) -> None:
    """Record when keys were last used; what is older than known, or of no key of ours, changes nothing."""
    ordered = sorted(uses.items())
    await tx.execute(_USED, {"ids": [key_id for key_id, _ in ordered], "times": [at for _, at in ordered]})


async def events(tx: AsyncConnection, ids: Sequence[UUID]) -> list[ApiKeyChanged]:
    """Return the event that told the present state of each of these keys."""
    rows = await tx.execute(select(api_key).where(api_key.c.id.in_(ids)))
    return [_to_key(row).changed(row.recorded_at) for row in rows]


def _to_key(row: Row[Any]) -> ApiKey:
    values = {name: getattr(row, name) for name in ApiKey.__dataclass_fields__}
    return ApiKey(**values | {"scopes": tuple(row.scopes)})


def _to_row(entity: ApiKey) -> dict[str, Any]:
    values = {name: getattr(entity, name) for name in ApiKey.__dataclass_fields__}
    return values | {"scopes": list(entity.scopes)}
