"""Day cells: the one upsert that changes them, and the sums read from them."""

from collections.abc import Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.domain.definitions import Sums
from services.kpi.domain.facts import Dims
from services.kpi.domain.tally import CellKey, Change
from shared.db.arrays import int_array
from shared.db.statements import Statement

# ORDER BY the key: two writers that meet on cells wait for each other in one order.
_ADD = Statement(
    """
    INSERT INTO cell AS c (generation, measure, owner, day, slice, num, den, n)
    SELECT CAST($1 AS int), r.*
    FROM unnest(CAST(CAST($2 AS text) AS smallint[]), CAST(CAST($3 AS text) AS int[]),
                CAST(CAST($4 AS text) AS int[]), CAST(CAST($5 AS text) AS int[]),
                CAST(CAST($6 AS text) AS bigint[]), CAST(CAST($7 AS text) AS bigint[]),
                CAST(CAST($8 AS text) AS bigint[])) AS r (measure, owner, day, slice, num, den, n)
    ORDER BY measure, owner, day, slice
    ON CONFLICT (generation, measure, owner, day, slice) DO UPDATE
        SET num = c.num + excluded.num, den = c.den + excluded.den, n = c.n + excluded.n
    """
)
_ALL = text(
    """
    SELECT c.measure, o.key AS owner, c.day, s.process, s.stage, s.product, s.source, s.currency, c.num, c.den, c.n
    FROM cell AS c JOIN slice AS s ON s.id = c.slice LEFT JOIN owner AS o ON o.id = c.owner
    WHERE c.generation = :generation AND (c.num <> 0 OR c.den <> 0 OR c.n <> 0)
    """
)
_COUNT = text("SELECT count(*) FROM cell WHERE generation = :generation AND (num <> 0 OR den <> 0 OR n <> 0)")


async def add_to_cells(
    tx: AsyncConnection,
    generation: int,
    changes: Mapping[CellKey, Change],
    owners: Mapping[str | None, int],
    slices: Mapping[Dims, int],
) -> None:
    """Add `changes` to the cells: the last rows that a transaction locks."""
    if changes:
        await _ADD.execute(
            tx,
            generation,
            int_array([measure for measure, *_ in changes]),
            int_array([owners[owner] for _, owner, _, _ in changes]),
            int_array([day for _, _, day, _ in changes]),
            int_array([slices[dims] for *_, dims in changes]),
            int_array([change.num for change in changes.values()]),
            int_array([change.den for change in changes.values()]),
            int_array([change.n for change in changes.values()]),
        )


async def all_cells(tx: AsyncConnection, generation: int) -> dict[CellKey, Sums]:
    """Return every cell that holds something."""
    rows = await tx.execute(_ALL, {"generation": generation})
    return {
        (row.measure, row.owner, row.day, Dims(row.process, row.stage, row.product, row.source, row.currency)): (
            Sums(row.num, row.den, row.n)
        )
        for row in rows
    }


async def count_cells(tx: AsyncConnection, generation: int) -> int:
    """Return how many cells hold something."""
    return int((await tx.execute(_COUNT, {"generation": generation})).scalar_one())
