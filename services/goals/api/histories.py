"""What was true of a team or a person when: every version, dated."""

from collections.abc import Callable
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.goals.api.days import Day
from services.goals.store import history
from shared.web.models import Answer, Query, Rfc3339


class HistoryQuery(Query):
    """`on` keeps the version in force on that day."""

    on: Day | None = None


class VersionAnswer(Answer):
    """One version: `state` in ids and numbers, in force from `effective_on` (null: since ever), told `at` by `by`."""

    version: str
    effective_on: date | None
    at: Rfc3339
    by: str
    state: dict[str, Any]


class HistoryAnswer(Answer):
    """Versions, oldest first; all of them on one page."""

    id: UUID
    items: list[VersionAnswer]
    next_cursor: str | None = None


async def history_of(
    tx: AsyncConnection,
    kind: history.Kind,
    subject_id: UUID,
    on: date | None,
    spoken: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> HistoryAnswer:
    """Return the history of a team or person that the caller may see, each stored state as `spoken` words it."""
    entries = await history.of(tx, kind, subject_id)
    shown = entries if on is None else history.in_force(entries, on)
    items = [
        VersionAnswer(
            version=str(entry.version),
            effective_on=entry.effective_on,
            at=entry.recorded_at,
            by=entry.recorded_by,
            state=spoken(entry.state),
        )
        for entry in shown
    ]
    return HistoryAnswer(id=subject_id, items=items)
