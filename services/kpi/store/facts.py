"""Facts as they were told and taken back: appended and closed, never changed."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.domain.facts import Dims
from services.kpi.domain.tally import TakenFact, ToldFact
from shared.db.arrays import int_array

# Each row is looked up by itself: of a table that is not analysed yet the planner expects next to nothing, and would
# compare all facts with all rows.
_TAKE = text(
    """
    UPDATE fact SET known_to = found.known_to
    FROM (
        SELECT n.known_to, (
            SELECT f.ctid FROM fact AS f
            WHERE f.entity = n.entity AND f.measure = n.measure AND f.place = n.place AND f.known_to IS NULL
        ) AS place
        FROM unnest(CAST(CAST(:entities AS text) AS bigint[]), CAST(CAST(:measures AS text) AS smallint[]),
                    CAST(CAST(:places AS text) AS int[]), CAST(:known_to AS timestamptz[]))
             AS n (entity, measure, place, known_to)
        OFFSET 0
    ) AS found
    WHERE fact.ctid = found.place
    """
)
_TELL = text(
    """
    INSERT INTO fact (generation, entity, measure, place, version, day, owner, slice, num, den, n, duration,
                      known_from, known_to)
    SELECT :generation, n.*
    FROM unnest(CAST(CAST(:entities AS text) AS bigint[]), CAST(CAST(:measures AS text) AS smallint[]),
                CAST(CAST(:places AS text) AS int[]), CAST(CAST(:versions AS text) AS int[]),
                CAST(CAST(:days AS text) AS int[]), CAST(CAST(:owners AS text) AS int[]),
                CAST(CAST(:slices AS text) AS int[]), CAST(CAST(:nums AS text) AS bigint[]),
                CAST(CAST(:dens AS text) AS bigint[]), CAST(CAST(:ns AS text) AS bigint[]),
                CAST(CAST(:durations AS text) AS bigint[]),
                CAST(:known_from AS timestamptz[]), CAST(:known_to AS timestamptz[])) AS n
    """
)


class Numbering(NamedTuple):
    """The numbers of the streams, owners and slices of a batch."""

    entities: Mapping[str, int]
    owners: Mapping[str | None, int]
    slices: Mapping[Dims, int]


async def take_back(tx: AsyncConnection, taken: Sequence[TakenFact], numbers: Numbering) -> None:
    """Close facts that are no longer true."""
    if taken:
        columns = {
            "entities": int_array(numbers.entities[fact.stream] for fact in taken),
            "measures": int_array(fact.measure for fact in taken),
            "places": int_array(fact.place for fact in taken),
            "known_to": [fact.known_to for fact in taken],
        }
        await tx.execute(_TAKE, columns)


async def tell(tx: AsyncConnection, generation: int, told: Sequence[ToldFact], numbers: Numbering) -> None:
    """Append facts; one that was taken back within the same batch comes closed."""
    if told:
        facts = [one.fact for one in told]
        columns = {
            "entities": int_array(numbers.entities[one.stream] for one in told),
            "measures": int_array(fact.measure for fact in facts),
            "places": int_array(fact.place for fact in facts),
            "versions": int_array(one.version for one in told),
            "days": int_array(fact.day for fact in facts),
            "owners": int_array(numbers.owners[fact.owner] for fact in facts),
            "slices": int_array(numbers.slices[fact.dims] for fact in facts),
            "nums": int_array(fact.num for fact in facts),
            "dens": int_array(fact.den for fact in facts),
            "ns": int_array(fact.n for fact in facts),
            "durations": int_array(fact.duration for fact in facts),
            "known_from": [one.known_from for one in told],
            "known_to": [one.known_to for one in told],
        }
        await tx.execute(_TELL, {"generation": generation, **columns})
