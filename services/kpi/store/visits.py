"""Stays in stages, read from facts: exact percentiles of their length, and who was where within a period."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.domain.days import UNDATED
from services.kpi.domain.facts import DWELL, OPEN_VALUE
from services.kpi.store.scopes import EVERYBODY, Share

_SHARES = """
    (:everybody OR EXISTS (
        SELECT FROM unnest(CAST(:owners AS int[]), CAST(:firsts AS int[]), CAST(:lasts AS int[]))
                    AS r (owner, first, last)
        WHERE r.owner = f.owner AND {condition}))
"""
_STAY_MEETS_SHARE = "GREATEST(f.day, r.first, :first) < LEAST(COALESCE(e.day + 1, :last), r.last, :last)"
_DWELLS = text(
    f"""
    SELECT s.stage, CAST(percentile_disc(0.5) WITHIN GROUP (ORDER BY f.duration) AS bigint) AS median,
           CAST(percentile_disc(0.9) WITHIN GROUP (ORDER BY f.duration) AS bigint) AS p90
    FROM fact AS f JOIN slice AS s ON s.id = f.slice
    WHERE f.generation = :generation AND f.measure = {DWELL} AND f.known_to IS NULL AND f.duration IS NOT NULL
      AND f.day >= :first AND f.day < :last AND s.process = :process
      AND {_SHARES.format(condition="f.day >= r.first AND f.day < r.last")}
    GROUP BY s.stage
    """  # noqa: S608 - made of constants
)
# The opening of a visit and its end are neighbours: places 2k and 2k + 1.
_PRESENCE = text(
    f"""
    SELECT s.stage, count(DISTINCT f.entity) AS present,
           count(DISTINCT f.entity) FILTER (WHERE e.den = 1 AND e.day < :last) AS advanced
    FROM fact AS f
    JOIN slice AS s ON s.id = f.slice
    LEFT JOIN fact AS e ON e.entity = f.entity AND e.measure = f.measure
                       AND e.place = f.place + 1 AND e.known_to IS NULL
    WHERE f.generation = :generation AND f.measure = {OPEN_VALUE} AND f.place % 2 = 0 AND f.known_to IS NULL
      AND f.day < :last AND f.day <> {UNDATED} AND (e.day IS NULL OR e.day >= :first) AND s.process = :process
      AND {_SHARES.format(condition=_STAY_MEETS_SHARE)}
    GROUP BY s.stage
    """  # noqa: S608 - made of constants
)


class Dwell(NamedTuple):
    """Seconds: half, and nine tenths, of the ended stays were not longer."""

    median: int
    p90: int


class Presence(NamedTuple):
    """Distinct deals that were in a stage within a period, and those of them that advanced within it."""

    present: int
    advanced: int


class Where(NamedTuple):
    """The stays of a process' deals in `[first, last)` (day numbers) that count for a scope."""

    generation: int
    process: str
    first: int
    last: int
    shares: Sequence[Share]

    def parameters(self) -> Mapping[str, object]:
        return {
            "generation": self.generation,
            "process": self.process,
            "first": self.first,
            "last": self.last,
            "everybody": tuple(self.shares) == EVERYBODY,
            "owners": [share.owner for share in self.shares],
            "firsts": [share.first for share in self.shares],
            "lasts": [share.last for share in self.shares],
        }


async def dwells(tx: AsyncConnection, where: Where) -> dict[str, Dwell]:
    """Return the percentiles of each stage over the stays that ended within the period."""
    return {row.stage: Dwell(row.median, row.p90) for row in await tx.execute(_DWELLS, where.parameters())}


async def presences(tx: AsyncConnection, where: Where) -> dict[str, Presence]:
    """Return for each open stage which deals were there within the period."""
    return {row.stage: Presence(row.present, row.advanced) for row in await tx.execute(_PRESENCE, where.parameters())}
