"""Statements of hot paths, given to the driver as they are.

SQLAlchemy's way to the same row (greenlet, context, cursor, result) takes three to four times the CPU of the driver's
own; what runs for every move or batch goes this way, all the rest through SQLAlchemy.
"""

from typing import Any, NoReturn

import asyncpg
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection


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
            if adapter._transaction is None:
                await adapter._start_transaction()
            rows: list[Any] = await driver.fetch(self._sql, *values)
        except Exception as error:  # noqa: BLE001 - every one is raised again
            await self._fail(tx, driver, error)
        return rows

    async def execute(self, tx: AsyncConnection, *values: Any) -> int:
        """Return how many rows were written."""
        driver, adapter = _connections(tx)
        try:
            if adapter._transaction is None:
                await adapter._start_transaction()
            status: str = await driver.execute(self._sql, *values)
        except Exception as error:  # noqa: BLE001 - every one is raised again
            await self._fail(tx, driver, error)
        # "INSERT 0 5", "UPDATE 5"
        return int(status.rpartition(" ")[2])

    async def _fail(self, tx: AsyncConnection, driver: Any, error: Exception) -> NoReturn:
        if driver.is_closed():
            # SQLAlchemy finds that by itself, raises it, and forgets the other connections of the pool, too.
            await tx.exec_driver_sql("SELECT 1")
        if isinstance(error, asyncpg.IntegrityConstraintViolationError):
            raise IntegrityError(self._sql, None, error) from error
        if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError):
            raise DBAPIError(self._sql, None, error) from error
        raise error


def _connections(tx: AsyncConnection) -> tuple[Any, Any]:
    """Return the driver's connection and what SQLAlchemy makes of it.

    SQLAlchemy begins a transaction with its own first statement, and has no public way to begin it earlier; what began
    behind its back it would not commit. tests/shared/db/test_statements.py fails if that ever changes.
    """
    pooled = tx.sync_connection.connection if tx.sync_connection is not None else None
    if pooled is None:
        raise ConnectionResetError
    return pooled.driver_connection, pooled.dbapi_connection
