"""Numbers for owners and slices: texts become integers once, so that a cell's key is five integers."""

from collections.abc import Iterable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.domain.facts import Dims
from shared.db.engine import Database

# The organisation is no owner: its cells hold everybody's facts.
ORGANISATION = 0
# Where a pooled connection keeps what it knows.
_OWNERS_KNOWN = "owner_numbers"
_SLICES_KNOWN = "slice_numbers"

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

    They outlive a rollback of whoever asked: a number without cells does no harm, a forgotten one would. But they are
    remembered only as long as the connection lives that asks: a database that was restored, or failed over to a replica
    that was behind, cuts all connections, and may have forgotten numbers or given them to others since.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def owners(self, tx: AsyncConnection, keys: Iterable[str | None]) -> dict[str | None, int]:
        """Return the numbers of (at least) these owner keys; null is the organisation."""
        known: dict[str | None, int] = tx.info.setdefault(_OWNERS_KNOWN, {None: ORGANISATION})
        wanted = sorted({key for key in keys if key is not None and key not in known})
        if wanted:
            async with self._database.transaction() as own:
                await own.execute(_NEW_OWNERS, {"keys": wanted})
            async with self._database.autocommit() as connection:
                known.update(await known_owners(connection, wanted))
        return known

    async def slices(self, tx: AsyncConnection, dims: Iterable[Dims]) -> dict[Dims, int]:
        """Return the numbers of (at least) these slices."""
        known: dict[Dims, int] = tx.info.setdefault(_SLICES_KNOWN, {})
        wanted = sorted({one for one in dims if one not in known})
        if wanted:
            columns = {
                "processes": [one.process for one in wanted],
                "stages": [one.stage for one in wanted],
                "products": [one.product for one in wanted],
                "sources": [one.source for one in wanted],
                "currencies": [one.currency for one in wanted],
            }
            async with self._database.transaction() as own:
                await own.execute(_NEW_SLICES, columns)
            async with self._database.autocommit() as connection:
                for row in await connection.execute(_SLICES, columns):
                    dims_of_row = Dims(row.process, row.stage, row.product, row.source, row.currency)
                    known[dims_of_row] = row.id
        return known


async def known_owners(tx: AsyncConnection, keys: Iterable[str]) -> dict[str, int]:
    """Return the numbers of those of `keys` that ever owned a deal."""
    rows = await tx.execute(_OWNERS, {"keys": list(keys)})
    return {row.key: row.id for row in rows}
