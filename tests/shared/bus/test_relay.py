"""The relay: order, deletion after acknowledgement, one at a time, awake when it must be."""

import asyncio
import time
from collections.abc import Sequence

from sqlalchemy import text

from shared.bus.protocol import Bus
from shared.bus.relay import Relay
from shared.events.codec import Message
from shared.metrics import exposition
from tests.faults.toy import World, until


class Moody:
    """A bus that refuses for a while."""

    def __init__(self, bus: Bus, refusals: int) -> None:
        self._bus = bus
        self.topics = bus.topics
        self.refusals = refusals

    async def append(self, messages: Sequence[Message]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise ConnectionRefusedError
        await self._bus.append(messages)


async def pending(world: World) -> int:
    async with world.pipeline.transaction() as tx:
        return int((await tx.execute(text("SELECT count(*) FROM outbox"))).scalar_one())


async def until_relayed(world: World, number: int) -> float:
    started = time.monotonic()

    async def relayed() -> bool:
        return len(await world.log()) >= number and await pending(world) == 0

    await until(relayed)
    return time.monotonic() - started


async def test_it_sends_in_order_and_leaves_nothing(world: World) -> None:
    for number in range(30):
        await world.change(number % 3, number)
    assert await world.relay().step() == 30
    assert await pending(world) == 0
    assert await world.broken() <= {"I5", "I6", "I7"}


async def test_what_the_bus_does_not_take_stays_and_is_sent_later(world: World) -> None:
    relay = Relay(world.pipeline, Moody(world.bus, 2), "pipeline")  # type: ignore[arg-type]
    running = asyncio.create_task(relay.run())
    await world.change(1, 1)
    await until_relayed(world, 1)
    running.cancel()
    await asyncio.wait({running})
    assert len(await world.log()) == 1


async def test_what_a_newer_release_told_in_a_topic_of_its_own_holds_up_nothing(world: World) -> None:
    """F19: after a roll-back it waits, unsent and undeleted, for the release that knows the topic."""
    async with world.pipeline.transaction() as tx:
        strange = text("INSERT INTO outbox (topic, key, headers, value) VALUES ('later.things.v1', 'k', '{}', '')")
        await tx.execute(strange)
    for number in range(30):
        await world.change(number % 3, number)
    assert await world.relay().step() == 30
    assert await world.relay().step() == 0
    assert await pending(world) == 1


async def test_a_commit_of_this_process_wakes_it_and_one_of_another_is_seen(world: World) -> None:
    running = asyncio.create_task(world.relay().run())
    await asyncio.sleep(1.5)
    await world.change(1, 1)
    await until_relayed(world, 1)
    async with world.pipeline.transaction() as tx:
        await tx.execute(
            text("INSERT INTO outbox (topic, key, headers, value) SELECT 'pipeline.deals.v1', 'k', '{}', ''::bytea")
        )
    assert await until_relayed(world, 2) < 5
    running.cancel()
    await asyncio.wait({running})


async def test_one_relays_while_the_others_stand_by(world: World) -> None:
    relays = [world.relay() for _ in range(3)]
    running = [asyncio.create_task(relay.run()) for relay in relays]
    for number in range(60):
        await world.change(number % 5, number)
    await until_relayed(world, 60)
    assert len(await world.log()) == 60
    running[0].cancel()
    await asyncio.wait({running[0]})
    await world.change(1, 1)
    await until_relayed(world, 61)
    for task in running[1:]:
        task.cancel()
    await asyncio.wait(running)
    assert len(await world.log()) == 61


async def test_it_tells_how_much_waits_and_since_when(world: World) -> None:
    await world.change(1, 1)
    async with world.pipeline.transaction() as tx:
        await tx.execute(text("UPDATE outbox SET created_at = created_at - interval '1 minute'"))
    relay = Relay(world.pipeline, Moody(world.bus, 10_000), "measured")  # type: ignore[arg-type]
    running = asyncio.create_task(relay.run())
    await until(lambda: 'outbox_pending{service="measured"} 1.0' in exposition().decode())
    age = next(
        line
        for line in exposition().decode().splitlines()
        if line.startswith('outbox_oldest_age_seconds{service="measured')
    )
    assert 60 <= float(age.split()[-1]) < 90
    running.cancel()
    await asyncio.wait({running})
