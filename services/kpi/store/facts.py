"""Facts as they were told and taken back: appended and closed, never changed."""

from collections.abc import Mapping, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.domain.facts import Dims
from services.kpi.domain.tally import TakenFact, ToldFact

_TAKE = text(
    """
    UPDATE fact AS f SET known_to = n.known_to
    FROM unnest(CAST(:streams AS text[]), CAST(:measures AS smallint[]), CAST(:places AS int[]),
                CAST(:known_to AS timestamptz[])) AS n (stream, measure, place, known_to)
    WHERE f.generation = :generation AND f.stream = n.stream AND f.measure = n.measure AND f.place = n.place
      AND f.known_to IS NULL
    """
)
_TELL = text(
    """
    INSERT INTO fact (generation, stream, measure, place, version, day, owner, slice, num, den, n, duration,
                      known_from, known_to)
    SELECT :generation, n.*
    FROM unnest(CAST(:streams AS text[]), CAST(:measures AS smallint[]), CAST(:places AS int[]),
                CAST(:versions AS bigint[]), CAST(:days AS int[]), CAST(:owners AS int[]), CAST(:slices AS int[]),
                CAST(:nums AS bigint[]), CAST(:dens AS bigint[]), CAST(:ns AS bigint[]), CAST(:durations AS bigint[]),
                CAST(:known_from AS timestamptz[]), CAST(:known_to AS timestamptz[])) AS n
    """
)


async def take_back(tx: AsyncConnection, generation: int, taken: Sequence[TakenFact]) -> None:
    """Close facts that are no longer true."""
    if taken:
        columns = {
            "streams": [fact.stream for fact in taken],
            "measures": [fact.measure for fact in taken],
            "places": [fact.place for fact in taken],
            "known_to": [fact.known_to for fact in taken],
        }
        await tx.execute(_TAKE, {"generation": generation, **columns})


async def tell(
    tx: AsyncConnection,
    generation: int,
    told: Sequence[ToldFact],
    owners: Mapping[str | None, int],
    slices: Mapping[Dims, int],
) -> None:
    """Append facts; one that was taken back within the same batch comes closed."""
    if told:
        facts = [one.fact for one in told]
        columns = {
            "streams": [one.stream for one in told],
            "measures": [fact.measure for fact in facts],
            "places": [fact.place for fact in facts],
            "versions": [one.version for one in told],
            "days": [fact.day for fact in facts],
            "owners": [owners[fact.owner] for fact in facts],
            "slices": [slices[fact.dims] for fact in facts],
            "nums": [fact.num for fact in facts],
            "dens": [fact.den for fact in facts],
            "ns": [fact.n for fact in facts],
            "durations": [fact.duration for fact in facts],
            "known_from": [one.known_from for one in told],
            "known_to": [one.known_to for one in told],
        }
        await tx.execute(_TELL, {"generation": generation, **columns})
