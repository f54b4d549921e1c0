"""What every service's `migrations/env.py` does: run its revisions over asyncpg with a short lock wait and retries.

Two at once take turns by an advisory lock; the second finds nothing left to do.
"""

import asyncio
import time

from alembic import context
from sqlalchemy import Connection, MetaData, pool, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

LOCK_NOT_AVAILABLE = "55P03"
RETRY_FOR_SECONDS = 60

_TAKE_TURNS = text("SELECT pg_advisory_lock(hashtext('salesgrain migrations'))")


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
    engine = create_async_engine(url, poolclass=pool.NullPool, hide_parameters=True)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_run_in_transaction, metadata)
    finally:
        await engine.dispose()


def _run_in_transaction(connection: Connection, metadata: MetaData) -> None:
    connection.execute(text("SET lock_timeout = '2s'"))
    # Of the session, which ends with the run: Alembic looks at the present revision before its own transaction.
    connection.execute(_TAKE_TURNS)
    connection.commit()
    context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()
