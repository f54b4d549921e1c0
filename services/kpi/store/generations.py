"""Generations: which rebuild of the truth is read and written, and the removal of those that no longer are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.engine import Database
from shared.db.statements import Statement

CHUNK = 20_000
_DERIVED = ("cell", "fact", "entity_state")

_ACTIVE = Statement("SELECT id FROM generation WHERE state = 'active'")
_HELD = text("SELECT id FROM generation WHERE state = 'active' FOR SHARE")
_BEGIN = text("INSERT INTO generation (state) VALUES ('building') RETURNING id")
_RETIRE = text("UPDATE generation SET state = 'retired' WHERE state = 'active'")
_ACTIVATE = text("UPDATE generation SET state = 'active' WHERE id = :generation AND state = 'building'")
_OTHERS = text("SELECT id FROM generation WHERE state <> 'active' ORDER BY id")
_FORGET = text("DELETE FROM generation WHERE id = :generation AND state <> 'active'")


class RebuildRunning(RuntimeError):  # noqa: N818 - the name of the fact
    """Another rebuild is at work: it would lose its generation to this one's cleaning."""


async def active_generation(tx: AsyncConnection) -> int:
    """Return the generation that is the present truth, as of this statement."""
    ((generation,),) = await _ACTIVE.fetch(tx)
    return int(generation)


async def held_generation(tx: AsyncConnection) -> int:
    """Return the present truth and keep it from being replaced (and its cells removed) until the end of `tx`."""
    held = (await tx.execute(_HELD)).scalar()
    if held is None:
        # It waited for a switch: the row is retired now, and only a new statement sees the one that replaced it.
        held = (await tx.execute(_HELD)).scalar_one()
    return int(held)


@asynccontextmanager
async def rebuilding_alone(database: Database) -> AsyncIterator[None]:
    """Let one rebuild at a time run in the block; raises RebuildRunning."""
    connection = await database.connect_dedicated()
    try:
        if not await connection.fetchval("SELECT pg_try_advisory_lock(hashtext('kpi rebuild'))"):
            raise RebuildRunning
        yield
    finally:
        await connection.close()


async def begin_generation(tx: AsyncConnection) -> int:
    """Make a new generation to be filled, and return it."""
    return int((await tx.execute(_BEGIN)).scalar_one())


async def activate(tx: AsyncConnection, generation: int) -> None:
    """Make `generation` the present truth; the one before is retired."""
    await tx.execute(_RETIRE)
    await tx.execute(_ACTIVATE, {"generation": generation})


async def remove_inactive_generations(database: Database) -> None:
    """Delete everything of retired and abandoned generations, in chunks that hold no lock for long."""
    async with database.autocommit() as connection:
        others = (await connection.execute(_OTHERS)).scalars().all()
        for generation in others:
            for table in _DERIVED:
                await _empty(connection, table, generation)
            await connection.execute(_FORGET, {"generation": generation})


async def _empty(connection: AsyncConnection, table: str, generation: int) -> None:
    statement = text(
        f"DELETE FROM {table} WHERE ctid = ANY(ARRAY("  # noqa: S608 - the table names are three constants
        f"SELECT ctid FROM {table} WHERE generation = :generation LIMIT :chunk))"
    )
    while (await connection.execute(statement, {"generation": generation, "chunk": CHUNK})).rowcount:
        pass
