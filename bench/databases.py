"""Databases of the scenarios' own, beside those of the services, on the PostgreSQL of the server under test."""

from pathlib import Path

from sqlalchemy.ext.asyncio import create_async_engine

from bench import limits
from deploy.embedded.postgres import running_url
from shared.db.platform import new_metadata


def url_of(data_dir: Path, database: str) -> str:
    """Return the URL of a database of the running server."""
    url = running_url(data_dir, database)
    if url is None:
        message = "the server's PostgreSQL does not run"
        raise RuntimeError(message)
    return url


async def make_database(data_dir: Path, name: str) -> str:
    """Create an empty database beside the services' own; return its URL."""
    pool = await limits.open_pool(url_of(data_dir, "postgres"))
    await pool.execute(f"DROP DATABASE IF EXISTS {name}")
    await pool.execute(f"CREATE DATABASE {name}")
    await pool.close()
    return url_of(data_dir, name)


async def create_platform_tables(url: str) -> None:
    """Make the tables that every service has: outbox, offsets, streams."""
    engine = create_async_engine(url)
    async with engine.begin() as tx:
        await tx.run_sync(new_metadata().create_all)
    await engine.dispose()
