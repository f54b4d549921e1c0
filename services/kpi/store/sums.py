"""Sums over day cells: one statement for any number of measures, owners and periods."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.domain.days import UNDATED
from services.kpi.domain.definitions import Dimension, Sums
from services.kpi.domain.series import UNDATED_BUCKET

_COLUMNS: dict[Dimension, str] = {
    "process": "s.process",
    "stage": "s.stage",
    "product": "s.product",
    "source": "s.source",
    "owner": "c.owner",
}


class Filters(NamedTuple):
    """Only cells with these are added up; an empty one lets everything through."""

    process: str = ""
    stage: str = ""
    currency: str = ""


class Reading(NamedTuple):
    """Add up a measure of an owner on the days `[first, last)`; the filters are those of Filters.

    `question` names what the sums belong to: readings of the same question are added together.
    """

    question: int
    measure: int
    owner: int
    first: int
    last: int
    process: str
    stage: str
    currency: str


class Found(NamedTuple):
    """Sums of one question, currency and group, and the bucket of days they are from (see read_sums)."""

    question: int
    bucket: int
    currency: str
    group: tuple[str | int, ...]
    sums: Sums


@cache
def _statement(by: tuple[Dimension, ...]) -> TextClause:
    columns = "".join(f", {_COLUMNS[column]}" for column in by)
    return text(
        f"""
        SELECT r.question, CASE WHEN c.day = {UNDATED} THEN {UNDATED_BUCKET}
                                ELSE width_bucket(c.day, CAST(:bounds AS int[])) END AS bucket,
               s.currency, CAST(sum(c.num) AS bigint), CAST(sum(c.den) AS bigint), CAST(sum(c.n) AS bigint){columns}
        FROM unnest(CAST(:questions AS int[]), CAST(:measures AS smallint[]), CAST(:owners AS int[]),
                    CAST(:firsts AS int[]), CAST(:lasts AS int[]), CAST(:processes AS text[]), CAST(:stages AS text[]),
                    CAST(:currencies AS text[]))
             AS r (question, measure, owner, first, last, process, stage, currency)
        JOIN cell AS c ON c.generation = :generation AND c.measure = r.measure AND c.owner = r.owner
                      AND c.day >= r.first AND c.day < r.last
        JOIN slice AS s ON s.id = c.slice AND r.process IN ('', s.process) AND r.stage IN ('', s.stage)
                       AND r.currency IN ('', s.currency)
        GROUP BY r.question, bucket, s.currency{columns}
        HAVING sum(c.num) <> 0 OR sum(c.den) <> 0 OR sum(c.n) <> 0
        """  # noqa: S608 - made of constants
    )


async def read_sums(
    tx: AsyncConnection,
    generation: int,
    readings: Iterable[Reading],
    bounds: Sequence[int],
    by: tuple[Dimension, ...] = (),
) -> list[Found]:
    """Return the sums that are not all zero.

    Bucket k >= 1 has the days `[bounds[k - 1], bounds[k])`, bucket 0 those before; UNDATED_BUCKET what has no day.
    """
    rows = list(readings)
    if not rows:
        return []
    names = ("questions", "measures", "owners", "firsts", "lasts", "processes", "stages", "currencies")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    found = await tx.execute(_statement(by), {"generation": generation, "bounds": list(bounds), **columns})
    return [
        Found(question, bucket, currency, tuple(group), Sums(num, den, n))
        for question, bucket, currency, num, den, n, *group in found
    ]
