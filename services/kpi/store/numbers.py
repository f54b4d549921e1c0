"""Numbers for owners and slices: texts become integers once, so that a cell's key is five integers."""

from collections.abc import Iterable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.domain.facts import Dims
from shared.db.engine import Database

# The organisation is no owner: its cells hold everybody's facts.
ORGANISATION = 0

_OWNERS = text("SELECT id, key FROM owner WHERE key = ANY(:keys)")
_NEW_OWNERS = text("INSERT INTO owner (key) SELECT unnest(CAST(:keys AS text[])) ON CONFLICT DO NOTHING")
_SLICE_ROWS = """
    FROM unnest(CAST(:processes AS text[]), CAST(:stages AS text[]), CAST(:products AS text[]),
                CAST(:sources AS text[]), CAST(:currencies AS text[])) AS n (process, stage, product, source, currency)
"""
_SLICES = text(
    f"SELECT s.id, process, stage, product, source, currency {_SLICE_ROWS}"
    " JOIN slice AS s USING (process, stage, product, source, currency)"
)
_NEW_SLICES = text(
    "INSERT INTO slice (process, stage, product, source, currency)"
    f" SELECT process, stage, product, source, currency {_SLICE_ROWS} ON CONFLICT DO NOTHING"
)


class Numbers:
    """The numbers known to this process; new ones are made in a short transaction of their own.

    They outlive a rollback of whoever asked: a number without cells does no harm, a forgotten one would.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._owners: dict[str | None, int] = {None: ORGANISATION}
        self._slices: dict[Dims, int] = {}

    async def owners(self, keys: Iterable[str | None]) -> dict[str | None, int]:
        """Return the numbers of (at least) these owner keys; null is the organisation."""
        wanted = sorted({key for key in keys if key is not None and key not in self._owners})
        if wanted:
            async with self._database.transaction() as tx:
                await tx.execute(_NEW_OWNERS, {"keys": wanted})
            async with self._database.autocommit() as connection:
                self._owners.update(await known_owners(connection, wanted))
        return self._owners

    async def slices(self, dims: Iterable[Dims]) -> dict[Dims, int]:
        """Return the numbers of (at least) these slices."""
        wanted = sorted({one for one in dims if one not in self._slices})
        if wanted:
            columns = {
                "processes": [one.process for one in wanted],
                "stages": [one.stage for one in wanted],
                "products": [one.product for one in wanted],
                "sources": [one.source for one in wanted],
                "currencies": [one.currency for one in wanted],
            }
            async with self._database.transaction() as tx:
                await tx.execute(_NEW_SLICES, columns)
            async with self._database.autocommit() as connection:
                for row in await connection.execute(_SLICES, columns):
                    dims_of_row = Dims(row.process, row.stage, row.product, row.source, row.currency)
                    self._slices[dims_of_row] = row.id
        return self._slices


async def known_owners(tx: AsyncConnection, keys: Iterable[str]) -> dict[str, int]:
    """Return the numbers of those of `keys` that ever owned a deal."""
    rows = await tx.execute(_OWNERS, {"keys": list(keys)})
    return {row.key: row.id for row in rows}
