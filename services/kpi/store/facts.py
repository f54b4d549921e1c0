"""Facts as they were told and taken back: appended and closed, never changed."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.domain.facts import Dims
from services.kpi.domain.tally import TakenFact, ToldFact
from shared.db.arrays import int_array
from shared.db.copying import copy_rows
from shared.db.statements import Statement

# Each row is looked up by itself: of a table that is not analysed yet the planner expects next to nothing, and would
# compare all facts with all rows.
_TAKE = Statement(
    """
    UPDATE fact SET known_to = found.known_to
    FROM (
        SELECT n.known_to, (
            SELECT f.ctid FROM fact AS f
            WHERE f.entity = n.entity AND f.measure = n.measure AND f.place = n.place AND f.known_to IS NULL
        ) AS place
        FROM unnest(CAST(CAST($1 AS text) AS bigint[]), CAST(CAST($2 AS text) AS smallint[]),
                    CAST(CAST($3 AS text) AS int[]), CAST($4 AS timestamptz[]))
             AS n (entity, measure, place, known_to)
        OFFSET 0
    ) AS found
    WHERE fact.ctid = found.place
    """
)
_COLUMNS = (
    "generation", "entity", "measure", "place", "version", "day", "owner", "slice", "num", "den", "n", "duration",
    "known_from", "known_to",
)  # fmt: skip


class Numbering(NamedTuple):
    """The numbers of the streams, owners and slices of a batch."""

    entities: Mapping[str, int]
    owners: Mapping[str | None, int]
    slices: Mapping[Dims, int]


async def take_back(tx: AsyncConnection, taken: Sequence[TakenFact], numbers: Numbering) -> None:
    """Close facts that are no longer true."""
    if taken:
        await _TAKE.execute(
            tx,
            int_array(numbers.entities[fact.stream] for fact in taken),
            int_array(fact.measure for fact in taken),
            int_array(fact.place for fact in taken),
            [fact.known_to for fact in taken],
        )


async def tell(tx: AsyncConnection, generation: int, told: Sequence[ToldFact], numbers: Numbering) -> None:
    """Append facts; one that was taken back within the same batch comes closed."""
    entities, owners, slices = numbers
    rows = [
        (
            generation, entities[one.stream], fact.measure, fact.place, one.version, fact.day, owners[fact.owner],
            slices[fact.dims], fact.num, fact.den, fact.n, fact.duration, one.known_from, one.known_to,
        )
        for one in told
        for fact in (one.fact,)
    ]  # fmt: skip
    if rows:
        await copy_rows(tx, "fact", _COLUMNS, rows)
