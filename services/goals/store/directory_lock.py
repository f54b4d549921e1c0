"""One writer of teams and people at a time: they refer to each other by names that may not exist yet."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('goals.directory', 0))")


async def lock_directory(tx: AsyncConnection) -> None:
    """Wait for the directory and hold it until `tx` ends."""
    await tx.execute(_LOCK)
