"""Marks of what folds touched: appended by folds, taken by the announcer."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.domain.days import UNDATED
from services.kpi.domain.tally import CellKey, Change
from services.kpi.store.scopes import FIRST_DAY, LAST_DAY
from shared.db.statements import Statement
from shared.tracing import Cause

_ADD = Statement("INSERT INTO touched (marks) VALUES ($1)")
_WAITING = Statement("SELECT id, marks FROM touched ORDER BY id LIMIT $1")
_DROP = Statement("DELETE FROM touched WHERE id = ANY(CAST($1 AS bigint[]))")


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


class Waiting(NamedTuple):
    """Marks in their order, and the rows that hold them."""

    ids: list[int]
    marks: list[Mark]


class _Written(msgspec.Struct, frozen=True, array_like=True):
    """The marks of one transaction: a cause is written once, each mark has its place at the end."""

    causes: tuple[Cause, ...]
    marks: tuple[tuple[str | None, int | None, int | None, int, int, int], ...]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Written)


def marks_of(
    changes: Mapping[CellKey, Change], owners: Mapping[str | None, int], causes: Sequence[Cause]
) -> list[Mark]:
    """Return one mark per measure and owner for changes of dated cells, each under the cause of its last event."""
    spans: dict[tuple[int, int], tuple[int, int, int]] = {}
    for (measure, owner, day, _), change in changes.items():
        if owner is not None and day != UNDATED:
            place = (measure, owners[owner])
            span = spans.get(place)
            if span is None:
                spans[place] = (day, day, change.cause)
            else:
                first, last, cause = span
                spans[place] = (min(first, day), max(last, day), max(cause, change.cause))
    return [
        Mark(None, measure, number, first, last, causes[cause])
        for (measure, number), (first, last, cause) in spans.items()
    ]


def mark_of_everything(cause: Cause) -> Mark:
    """Return the mark after which every watch is looked at again."""
    return Mark(None, None, None, FIRST_DAY, LAST_DAY, cause)


def mark_of_watch(key: str, cause: Cause) -> Mark:
    """Return the mark after which a watch is announced even if nothing changed."""
    return Mark(key, None, None, FIRST_DAY, LAST_DAY, cause)


async def add_marks(tx: AsyncConnection, marks: Sequence[Mark]) -> None:
    """Append marks, one row for all of them; no row that somebody else may hold is touched."""
    if marks:
        # By identity: hashing a cause costs more than all the rest of its mark.
        places: dict[int, tuple[int, Cause]] = {}
        rows = tuple(
            (key, measure, owner, first, last, places.setdefault(id(cause), (len(places), cause))[0])
            for key, measure, owner, first, last, cause in marks
        )
        causes = tuple(cause for _, cause in places.values())
        await _ADD.execute(tx, _encoder.encode(_Written(causes, rows)))


async def waiting_marks(tx: AsyncConnection, limit: int) -> Waiting:
    """Return the marks of the oldest `limit` transactions, in order."""
    waiting = Waiting([], [])
    for number, content in await _WAITING.fetch(tx, limit):
        written = _decoder.decode(content)
        waiting.ids.append(number)
        waiting.marks.extend(Mark(*mark[:5], written.causes[mark[5]]) for mark in written.marks)
    return waiting


async def drop_marks(tx: AsyncConnection, ids: Collection[int]) -> None:
    """Delete exactly these rows: one that came meanwhile stays."""
    await _DROP.execute(tx, list(ids))
