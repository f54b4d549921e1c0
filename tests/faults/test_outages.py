"""The log and the databases fail: emptied, replayed, exhausted, deadlocked, cut in the middle of a COMMIT (F10, F11, F13, F17)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.bus.dead_letters import list_dead_letters
from shared.bus.subscription import Delivery
from shared.db.engine import Database, Signal
from shared.db.errors import is_infrastructure
from shared.events.codec import Message
from shared.events.pipeline import DEALS
from tests.faults.toy import GROUP, ToyExport, World, fold, settle, until, write_change

NOT_IN_LOG = {"I3"}


async def changed(world: World, changes: int = 40) -> None:
    for number in range(changes):
        await world.change(number % 8, number)


# F10: the log


@pytest.mark.parametrize("back", ["UPDATE consumer_offset SET next_off = 0", "DELETE FROM consumer_offset"])
async def test_everything_read_again_is_applied_once(world: World, back: str) -> None:
    """F10: offsets reset to the beginning, or the whole group forgotten."""
    relay, consumer = world.relay(), world.consumer()
    await changed(world)
    await settle(relay, consumer)
    await consumer.close()
    async with world.kpi.transaction() as tx:
        await tx.execute(text(back))
    await changed(world)
    await settle(relay, consumer)
    assert await world.broken() == set()
    assert world.export.asked == []


async def test_a_topic_that_was_made_anew_is_begun_anew(world: World) -> None:
    """F10: same log, but the topic is empty and counts from 0; what only the old one had is in the export."""
    relay, consumer = world.relay(), world.consumer()
    await changed(world)
    await settle(relay, consumer)
    await changed(world)
    while await relay.step():
        pass
    async with world.bus._database.transaction() as tx:
        await tx.execute(text("DELETE FROM bus_log"))
        await tx.execute(text("UPDATE bus_partition SET next_off = 0"))
    for _ in range(2 * world.bus.partitions(DEALS) + 1):
        await consumer.step(0)
    await changed(world, 8)
    await settle(relay, consumer)
    assert f"pages {DEALS}" in world.export.asked
    assert await world.broken() == NOT_IN_LOG


class Busy(ToyExport):
    """While somebody reads its export, the owner goes on, and what it does is sent."""

    meanwhile: Callable[[], Awaitable[None]]

    async def pages(self, topic: str) -> AsyncIterator[Sequence[Message]]:
        async for page in super().pages(topic):
            yield page
            await self.meanwhile()


async def test_what_happens_while_the_export_is_read_is_not_passed_over(world: World) -> None:
    """F10: the end of the log is noted before the first page, so what no page has stands behind it."""
    relay = world.relay()
    await changed(world)
    while await relay.step():
        pass
    async with world.bus._database.transaction() as tx:
        await tx.execute(text("UPDATE bus_log SET ts = ts - interval '15 days'"))
    await world.bus.expire()

    async def meanwhile() -> None:
        for number in range(8):
            await world.change(number, 1000)
        while await relay.step():
            pass

    world.export = Busy(world.pipeline)
    world.export.meanwhile = meanwhile
    await settle(relay, world.consumer())
    assert world.export.asked == [f"pages {DEALS}"]
    assert await world.broken() == NOT_IN_LOG


# F11: nobody knows whether it was committed

SLOW_COMMIT = """
    CREATE FUNCTION slow_commit() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(1.5); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED
        FOR EACH STATEMENT EXECUTE FUNCTION slow_commit();
"""
COMMITTING = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query ILIKE 'commit%'"
)


@contextlib.asynccontextmanager
async def broken_in_commit(database: Database, table: str, server_ends_it: bool) -> AsyncIterator[None]:
    """Within the block the first COMMIT that wrote to `table` loses its connection while the server works on it."""
    connections: list[Any] = []

    def remember(connection: Any, _record: object) -> None:
        connections.append(connection.driver_connection)

    await database.engine.dispose()
    event.listen(database.engine.sync_engine, "connect", remember)
    watcher = await database.connect_dedicated()
    await watcher.execute(SLOW_COMMIT.format(table=table).replace("FOR EACH STATEMENT", "FOR EACH ROW"))

    async def strike() -> None:
        async def committing() -> bool:
            return await watcher.fetchval(COMMITTING) is not None

        await until(committing, 30)
        pid = await watcher.fetchval(COMMITTING)
        if server_ends_it:
            await watcher.execute("SELECT pg_terminate_backend($1)", pid)
        else:
            (victim,) = (one for one in connections if one.get_server_pid() == pid)
            victim._transport.abort()
        # Free again only when the server is through with it, whichever way.
        await watcher.execute(f"DROP TRIGGER slow_commit ON {table}")

    striking = asyncio.create_task(strike())
    try:
        yield
        await asyncio.wait_for(striking, 30)
    finally:
        striking.cancel()
        await watcher.close()
        event.remove(database.engine.sync_engine, "connect", remember)


@pytest.mark.parametrize("server_ends_it", [True, False], ids=["rolled back", "committed"])
async def test_the_consumer_loses_its_connection_within_a_commit(world: World, server_ends_it: bool) -> None:
    relay, consumer = world.relay(), world.consumer()
    await consumer.step(0)
    await world.change(1, 100)
    await relay.step()
    async with broken_in_commit(world.kpi, "ledger", server_ends_it):
        with pytest.raises((DBAPIError, OSError)) as lost:
            await consumer.step(0)
        assert is_infrastructure(lost.value)
    async with world.kpi.transaction() as tx:
        applied = (await tx.execute(text("SELECT count(*) FROM ledger"))).scalar_one()
    assert applied == (0 if server_ends_it else 1)
    await settle(relay, consumer)
    assert await world.broken() == set()


@pytest.mark.parametrize("server_ends_it", [True, False], ids=["rolled back", "committed"])
async def test_the_writer_loses_its_connection_within_a_commit(world: World, server_ends_it: bool) -> None:
    await world.change(1, 100, "first")
    async with broken_in_commit(world.pipeline, "history", server_ends_it):
        with pytest.raises((DBAPIError, OSError)) as lost:
            await world.change(1, 200, "second")
        assert is_infrastructure(lost.value)
    await world.change(1, 200, "second")
    await settle(world.relay(), world.consumer())
    assert len(await world.log()) == 2
    assert await world.broken() == set()


# F13: the surroundings

DEADLOCKED = "DO $$ BEGIN RAISE EXCEPTION 'made up' USING ERRCODE = '{state}'; END $$"


@pytest.mark.parametrize(
    "state", ["40001", "40P01", "53100", "53200", "55P03", "57014", "58030"],
    ids=["serialization", "deadlock", "disk full", "memory", "lock timeout", "cancelled", "input or output"],
)  # fmt: skip
async def test_no_fault_of_the_surroundings_makes_a_dead_letter(world: World, state: str) -> None:
    """F13: whatever the server says of itself, the events are tried again and none is set aside."""
    failures = iter([DEADLOCKED.format(state=state)] * 2)

    async def hindered(tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
        await fold(tx, deliveries)
        if statement := next(failures, None):
            await tx.execute(text(statement))

    await changed(world, 16)
    relay, consumer = world.relay(), world.consumer(subscription=world.subscription(hindered))
    while await relay.step():
        pass
    for _ in range(2):
        with pytest.raises(Exception, match="made up"):
            await consumer.step(0)
    await settle(relay, consumer)
    await _no_dead_letters(world)
    assert await world.broken() == set()


async def test_a_real_deadlock_is_tried_again(world: World) -> None:
    """F13: the use case and somebody else lock the same two things, each the other's first."""
    deadlocked = asyncio.Event()

    async def hindered(tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
        if not deadlocked.is_set():
            await tx.execute(text("SET LOCAL deadlock_timeout = '10ms'"))
            await tx.execute(text("SELECT pg_advisory_xact_lock(1)"))
            deadlocked.set()
            await tx.execute(text("SELECT pg_advisory_xact_lock(2)"))
        await fold(tx, deliveries)

    await changed(world, 16)
    relay, consumer = world.relay(), world.consumer(subscription=world.subscription(hindered))
    while await relay.step():
        pass
    async with world.kpi.transaction() as other:
        await other.execute(text("SET LOCAL deadlock_timeout = '60s'"))
        await other.execute(text("SELECT pg_advisory_xact_lock(2)"))
        stepping = asyncio.create_task(consumer.step(0))
        await asyncio.wait_for(deadlocked.wait(), 10)
        await other.execute(text("SELECT pg_advisory_xact_lock(1)"))
        with pytest.raises(Exception, match="deadlock"):
            await stepping
    await settle(relay, consumer)
    await _no_dead_letters(world)
    assert await world.broken() == set()


async def test_a_server_without_a_free_connection_is_waited_for(world: World) -> None:
    """F13: the relay and the consumer run, no connection can be had any more, then there are some again."""
    committed = Signal()
    relay = world.relay()
    consumer = world.consumer(subscription=replace(world.subscription(), committed=committed))
    await changed(world, 16)
    await world.kpi.engine.dispose()
    taken: list[Any] = []
    try:
        with contextlib.suppress(asyncpg.TooManyConnectionsError):
            while True:
                taken.append(await world.bus._database.connect_dedicated())
        running = [asyncio.create_task(relay.run()), asyncio.create_task(consumer.run())]
        assert not await committed.wait(1.5)
        assert not any(task.done() for task in running)
    finally:
        for connection in taken:
            await connection.close()
    await until(lambda: _at_rest(world), 40)
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    await _no_dead_letters(world)


async def _at_rest(world: World) -> bool:
    return not await world.broken()


async def _no_dead_letters(world: World) -> None:
    async with world.kpi.transaction() as tx:
        assert await list_dead_letters(tx, GROUP, 10) == []


# F17: somebody else's transactions


async def test_old_snapshots_and_open_transactions_of_others_hold_up_nothing(world: World) -> None:
    """F17: a report that began long ago, a writer of another database, and a writer of this one are still open."""
    await world.change(1, 1)
    relay, consumer = world.relay(), world.consumer()
    async with (
        world.pipeline.snapshot() as report,
        world.kpi.transaction() as elsewhere,
        world.pipeline.transaction() as late,
    ):
        await report.execute(text("SELECT count(*) FROM outbox"))
        await elsewhere.execute(text("CREATE TABLE migrating (id int)"))
        await write_change(late, 1000, 5)
        await changed(world, 400)
        await settle(relay, consumer)
        async with world.kpi.transaction() as tx:
            assert (await tx.execute(text("SELECT count(*) FROM ledger"))).scalar_one() == 401
    await settle(relay, consumer)
    assert await world.broken() == set()
