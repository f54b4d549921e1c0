"""COPY within a transaction: the cheapest way of appending many rows."""

from collections.abc import Collection, Sequence

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection


async def copy_rows(
    tx: AsyncConnection, table: str, columns: Sequence[str], rows: Collection[Sequence[object]]
) -> None:
    """Append `rows` to `table`; a statement of `tx` must have come before, so that its transaction has begun.

    Raises what the driver raises, not wrapped by SQLAlchemy, and ConnectionError when the connection is gone.
    """
    connection = (await tx.get_raw_connection()).driver_connection
    if connection is None or connection.is_closed():
        raise ConnectionResetError
    if not connection.is_in_transaction():
        message = "COPY would commit by itself: the transaction has not begun"
        raise RuntimeError(message)
    try:
        await connection.copy_records_to_table(table, columns=columns, records=rows)
    except asyncpg.InterfaceError as error:
        if connection.is_closed():
            raise ConnectionResetError from error
        raise
