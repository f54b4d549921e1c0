"""Statements of hot paths, given to the driver as they are.

SQLAlchemy's way to the same row (greenlet, context, cursor, result) takes three to four times the CPU of the driver's
own; what runs for every move or batch goes this way, all the rest through SQLAlchemy.
"""

import asyncio
from typing import Any, NoReturn

import asyncpg
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.util import greenlet_spawn

from shared.db.engine import Database


class Statement:
    """SQL with parameters `$1`, `$2`, ... that runs in the transaction of the connection it is given.

    Errors are those of SQLAlchemy, as if it had run the statement: IntegrityError, DBAPIError (`connection_invalidated`
    when the connection is gone), OSError.
    """

    __slots__ = ("_sql",)

    def __init__(self, sql: str) -> None:
        self._sql = sql

    async def fetch(self, tx: AsyncConnection, *values: Any) -> list[Any]:
        """Return all rows: tuples that can also be asked by the names of their columns (`row["id"]`)."""
        driver, adapter = _connections(tx)
        try:
            await _begin(tx, adapter)
            rows: list[Any] = await driver.fetch(self._sql, *values)
        except Exception as error:  # noqa: BLE001 - every one is raised again
            await self._fail(tx, driver, error)
        return rows

    async def execute(self, tx: AsyncConnection, *values: Any) -> int:
        """Return how many rows were written."""
        driver, adapter = _connections(tx)
        try:
            await _begin(tx, adapter)
            status: str = await driver.execute(self._sql, *values)
        except Exception as error:  # noqa: BLE001 - every one is raised again
            await self._fail(tx, driver, error)
        return _count(status)

    async def fetch_alone(self, database: Database, *values: Any) -> list[Any]:
        """Return all rows of the statement as a transaction of its own."""
        rows: list[Any] = await self._alone(database, "fetch", values)
        return rows

    async def execute_alone(self, database: Database, *values: Any) -> int:
        """Run the statement as a transaction of its own; return how many rows were written."""
        return _count(await self._alone(database, "execute", values))

    async def _alone(self, database: Database, method: str, values: tuple[Any, ...]) -> Any:
        pooled = await database.engine.raw_connection()
        try:
            driver: Any = pooled.driver_connection
            try:
                return await getattr(driver, method)(self._sql, *values)
            except Exception as error:
                if not driver.is_closed():
                    self._raise(error)
                # As SQLAlchemy does: the other connections of the pool will have ended with this one.
                await database.engine.dispose()
                raise DBAPIError(self._sql, None, error, connection_invalidated=True) from error
        finally:
            await greenlet_spawn(pooled.close)

    async def _fail(self, tx: AsyncConnection, driver: Any, error: Exception) -> NoReturn:
        if driver.is_closed():
            # SQLAlchemy finds that by itself, raises it, and forgets the other connections of the pool, too.
            await tx.exec_driver_sql("SELECT 1")
        self._raise(error)

    def _raise(self, error: Exception) -> NoReturn:
        if isinstance(error, asyncpg.IntegrityConstraintViolationError):
            raise IntegrityError(self._sql, None, error) from error
        if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError):
            raise DBAPIError(self._sql, None, error) from error
        raise error


def _count(status: str) -> int:
    # "INSERT 0 5", "UPDATE 5"
    return int(status.rpartition(" ")[2])


def _connections(tx: AsyncConnection) -> tuple[Any, Any]:
    """Return the driver's connection and what SQLAlchemy makes of it."""
    pooled = tx.sync_connection.connection if tx.sync_connection is not None else None
    if pooled is None:
        raise ConnectionResetError
    return pooled.driver_connection, pooled.dbapi_connection


async def _begin(tx: AsyncConnection, adapter: Any) -> None:
    """Begin the transaction of `tx`, unless that is done.

    SQLAlchemy begins a transaction with its own first statement, and has no public way to begin it earlier; what began
    behind its back it would not commit. tests/shared/db/test_statements.py fails if that ever changes.
    """
    if adapter._transaction is not None:
        return
    try:
        await adapter._start_transaction()
    except asyncio.CancelledError:
        # BEGIN was on its way: only the driver knows of that transaction, and nobody would end it. Whatever this
        # connection did later would be a savepoint within it, which no COMMIT ever reaches.
        await tx.invalidate()
        raise
