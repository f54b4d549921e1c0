"""Every version of teams and people, dated, in ids and numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.goals.store.tables import directory_history

Kind = Literal["team", "person"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One version: what was true from `effective_on` (null: since ever), told at `recorded_at`."""

    kind: Kind
    subject_id: UUID
    version: int
    effective_on: date | None
    recorded_at: datetime
    recorded_by: str
    state: dict[str, Any]


async def append(tx: AsyncConnection, entries: Sequence[Entry]) -> None:
    """Write new versions, one statement."""
    if entries:
        rows = [{name: getattr(entry, name) for name in Entry.__dataclass_fields__} for entry in entries]
        await tx.execute(insert(directory_history).values(rows))


async def of(tx: AsyncConnection, kind: Kind, subject_id: UUID) -> list[Entry]:
    """Return every version, oldest first."""
    table = directory_history
    rows = await tx.execute(
        select(table).where(table.c.kind == kind, table.c.subject_id == subject_id).order_by(table.c.version)
    )
    return [Entry(**row._mapping) for row in rows]


def in_force(entries: Sequence[Entry], day: date) -> list[Entry]:
    """Return the last told version of those that are in force on `day`, as a list of one or none."""
    begun = [entry for entry in entries if entry.effective_on is None or entry.effective_on <= day]
    return begun[-1:]
