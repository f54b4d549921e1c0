"""Sources of webhooks: what kind each is, how its bodies are mapped, and the secrets it signs with."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec
from sqlalchemy import Row, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.store.tables import crm_source

Mode = Literal["record", "paused"]


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A source at `version`. While `paused`, its webhooks are received and wait; `secrets` never leave the service."""

    source: str
    version: int
    kind: str
    mode: Mode
    mapping: dict[str, Any]
    secrets: tuple[str, ...]
    created_at: datetime
    updated_at: datetime


async def find_source(tx: AsyncConnection, source: str, *, lock: bool = False) -> Source | None:
    """Return a source by its name."""
    statement = select(crm_source).where(crm_source.c.source == source)
    row = (await tx.execute(statement.with_for_update() if lock else statement)).one_or_none()
    return None if row is None else _to_source(row)


async def sources_by_name(tx: AsyncConnection, names: Collection[str]) -> Mapping[str, Source]:
    """Return those of the sources that exist."""
    rows = await tx.execute(select(crm_source).where(crm_source.c.source.in_(names)))
    return {row.source: _to_source(row) for row in rows}


async def save_source(tx: AsyncConnection, source: Source) -> None:
    """Write a new or a changed source."""
    values = {**msgspec.structs.asdict(source), "secrets": list(source.secrets)}
    statement = upsert(crm_source).values(values)
    changed = {name: statement.excluded[name] for name in values if name not in ("source", "created_at")}
    await tx.execute(statement.on_conflict_do_update(index_elements=["source"], set_=changed))


def _to_source(row: Row[Any]) -> Source:
    values = dict(row._mapping)
    return Source(**{**values, "secrets": tuple(values["secrets"])})
