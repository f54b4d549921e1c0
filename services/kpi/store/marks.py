"""Marks of what folds touched: appended by folds, taken by the announcer."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.domain.days import UNDATED
from services.kpi.domain.tally import CellKey, Change
from services.kpi.store.scopes import FIRST_DAY, LAST_DAY
from shared.tracing import Cause

_ADD = text(
    """
    INSERT INTO touched (watch_key, measure, owner, first_day, last_day, correlation_id, causation_id, traceparent)
    SELECT * FROM unnest(CAST(:watch_keys AS text[]), CAST(:measures AS smallint[]), CAST(:owners AS int[]),
                         CAST(:firsts AS int[]), CAST(:lasts AS int[]), CAST(:correlations AS text[]),
                         CAST(:causations AS text[]), CAST(:traces AS text[]))
    """
)
_WAITING = text(
    """
    SELECT id, watch_key, measure, owner, first_day, last_day, correlation_id, causation_id, traceparent
    FROM touched ORDER BY id LIMIT :limit
    """
)
_DROP = text("DELETE FROM touched WHERE id = ANY(:ids)")


class Mark(NamedTuple):
    """A measure of an owner changed on the days `[first_day, last_day]`, or a watch is to be announced in any case.

    Without measure and watch everything may have changed: people moved, or another generation is read.
    """

    watch_key: str | None
    measure: int | None
    owner: int | None
    first_day: int
    last_day: int
    cause: Cause


class WaitingMark(NamedTuple):
    id: int
    mark: Mark


def marks_of(
    changes: Mapping[CellKey, Change], owners: Mapping[str | None, int], causes: Sequence[Cause]
) -> list[Mark]:
    """Return one mark per measure and owner for changes of dated cells, each under the cause of its last event."""
    spans: dict[tuple[int, int], tuple[int, int, int]] = {}
    for key, change in changes.items():
        if key.owner is not None and key.day != UNDATED:
            place = (key.measure, owners[key.owner])
            first, last, cause = spans.get(place, (key.day, key.day, change.cause))
            spans[place] = min(first, key.day), max(last, key.day), max(cause, change.cause)
    return [
        Mark(None, measure, owner, first, last, causes[cause])
        for (measure, owner), (first, last, cause) in spans.items()
    ]


def mark_of_everything(cause: Cause) -> Mark:
    """Return the mark after which every watch is looked at again."""
    return Mark(None, None, None, FIRST_DAY, LAST_DAY, cause)


def mark_of_watch(key: str, cause: Cause) -> Mark:
    """Return the mark after which a watch is announced even if nothing changed."""
    return Mark(key, None, None, FIRST_DAY, LAST_DAY, cause)


async def add_marks(tx: AsyncConnection, marks: Sequence[Mark]) -> None:
    """Append marks; no row that somebody else may hold is touched."""
    if marks:
        columns = {
            "watch_keys": [mark.watch_key for mark in marks],
            "measures": [mark.measure for mark in marks],
            "owners": [mark.owner for mark in marks],
            "firsts": [mark.first_day for mark in marks],
            "lasts": [mark.last_day for mark in marks],
            "correlations": [mark.cause.correlation_id for mark in marks],
            "causations": [mark.cause.causation_id for mark in marks],
            "traces": [mark.cause.traceparent for mark in marks],
        }
        await tx.execute(_ADD, columns)


async def waiting_marks(tx: AsyncConnection, limit: int) -> list[WaitingMark]:
    """Return the oldest marks, in order."""
    rows = await tx.execute(_WAITING, {"limit": limit})
    return [
        WaitingMark(
            row.id,
            Mark(
                row.watch_key,
                row.measure,
                row.owner,
                row.first_day,
                row.last_day,
                Cause(row.correlation_id, row.causation_id, row.traceparent),
            ),
        )
        for row in rows
    ]


async def drop_marks(tx: AsyncConnection, ids: Collection[int]) -> None:
    """Delete exactly these marks: one that came meanwhile stays."""
    await tx.execute(_DROP, {"ids": list(ids)})
