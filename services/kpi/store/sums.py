"""Sums over day cells: one statement for any number of measures, owners and periods."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.domain.days import UNDATED
from services.kpi.domain.definitions import Definition, Dimension, Sums
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

    def on(self, definition: Definition) -> "Filters":
        """Return what they let through of one KPI: only money has a currency, counts and rates are of all deals."""
        return self if definition.unit == "money" else self._replace(currency="")


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
    columns = "".join(f", {_COLUMNS[column]} AS by{place}" for place, column in enumerate(by))
    groups = "".join(f", by{place}" for place in range(len(by)))
    # OFFSET 0: each reading goes through the cells' key by itself. Of a generation that is not analysed yet the planner
    # expects next to nothing, and would compare all its cells with all readings.
    return text(
        f"""
        SELECT r.question, bucket, currency, CAST(sum(num) AS bigint), CAST(sum(den) AS bigint),
               CAST(sum(n) AS bigint){groups}
        FROM unnest(CAST(:questions AS int[]), CAST(:measures AS smallint[]), CAST(:owners AS int[]),
                    CAST(:firsts AS int[]), CAST(:lasts AS int[]), CAST(:processes AS text[]), CAST(:stages AS text[]),
                    CAST(:currencies AS text[]))
             AS r (question, measure, owner, first, last, process, stage, currency_wanted)
        CROSS JOIN LATERAL (
            SELECT CASE WHEN c.day = {UNDATED} THEN {UNDATED_BUCKET}
                        ELSE width_bucket(c.day, CAST(:bounds AS int[])) END AS bucket,
                   s.currency, c.num, c.den, c.n{columns}
            FROM cell AS c JOIN slice AS s ON s.id = c.slice
            WHERE c.generation = :generation AND c.measure = r.measure AND c.owner = r.owner
              AND c.day >= r.first AND c.day < r.last
              AND r.process IN ('', s.process) AND r.stage IN ('', s.stage) AND r.currency_wanted IN ('', s.currency)
            OFFSET 0
        ) AS found
        GROUP BY r.question, bucket, currency{groups}
        HAVING sum(num) <> 0 OR sum(den) <> 0 OR sum(n) <> 0
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
