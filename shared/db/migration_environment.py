"""What every service's `migrations/env.py` does: run its revisions over asyncpg with a short lock wait and retries."""

import asyncio
import time

from alembic import context
from sqlalchemy import Connection, MetaData, pool, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

LOCK_NOT_AVAILABLE = "55P03"
RETRY_FOR_SECONDS = 60


def run(metadata: MetaData) -> None:
    """Run the revisions that Alembic asked for against `config.attributes["url"]`."""
    url: str = context.config.attributes["url"]
    deadline = time.monotonic() + RETRY_FOR_SECONDS
    while True:
        try:
            asyncio.run(_migrate(url, metadata))
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE or time.monotonic() > deadline:
                raise
            time.sleep(1)
        else:
            return


async def _migrate(url: str, metadata: MetaData) -> None:
    engine = create_async_engine(url, poolclass=pool.NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_run_in_transaction, metadata)
    finally:
        await engine.dispose()


def _run_in_transaction(connection: Connection, metadata: MetaData) -> None:
    connection.execute(text("SET lock_timeout = '2s'"))
    connection.commit()
    context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()
