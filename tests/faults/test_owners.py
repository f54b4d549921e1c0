"""Two who both believe to be the owner: of the relay (F3, F4), of a partition (F6)."""

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.bus.offsets import Fenced
from shared.bus.subscription import Delivery
from tests.faults.course import END_SESSIONS, FreezingRelay
from tests.faults.toy import World, fold, settle


async def lose_sessions(world: World) -> None:
    async with world.kpi.transaction() as tx:
        await tx.execute(END_SESSIONS)


@pytest.mark.parametrize("before", ["send", "delete"])
async def test_of_two_relays_each_sends_and_the_first_occurrences_stay_in_order(world: World, before: str) -> None:
    """F3, F4: one froze with rows in its hands, another one sent them and newer ones, then the first goes on."""
    for number in range(20):
        await world.change(number % 3, number)
    frozen, working, consumer = world.relay(FreezingRelay), world.relay(), world.consumer()
    assert isinstance(frozen, FreezingRelay)
    frozen.before = before
    freezing = await frozen.gate.started(frozen.step())
    assert not freezing.done()
    await settle(working, consumer)
    for number in range(20):
        await world.change(number % 3, 100 + number)
    await settle(working, consumer)
    frozen.gate.thaw()
    assert await freezing == 20
    await settle(working, consumer)
    assert len(await world.log()) == 60
    assert await world.broken() == set()


async def test_an_owner_that_comes_back_within_its_transaction_harms_nothing(world: World) -> None:
    """F6: an owner freezes within its transaction, another takes over, then the first one goes on."""
    frozen, thaw = asyncio.Event(), asyncio.Event()

    async def slow(tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
        frozen.set()
        await thaw.wait()
        await fold(tx, deliveries)

    for number in range(10):
        await world.change(number, 100)
    sender = world.relay()
    await sender.step()
    first, second = world.consumer(subscription=world.subscription(slow)), world.consumer()
    zombie = asyncio.create_task(first.step(0))
    await asyncio.wait_for(frozen.wait(), 10)
    await lose_sessions(world)
    taking = asyncio.create_task(settle(sender, second))
    # With the fence the other one waits here until the zombie's transaction is over.
    await asyncio.wait({taking}, timeout=1)
    thaw.set()
    await asyncio.gather(zombie, taking, return_exceptions=True)
    await settle(sender, second)
    assert await world.broken() == set()


async def test_a_fenced_owner_writes_nothing(world: World) -> None:
    """Another one has taken over between fetch and apply: the batch is dropped with all its effects."""
    await world.change(1, 100)
    relay, first, second = world.relay(), world.consumer(), world.consumer()
    await relay.step()
    assert await first.step(0) == 1
    await world.change(1, 200)
    await relay.step()
    await lose_sessions(world)
    assert await second.step(0) == 1
    await world.change(1, 300)
    await relay.step()
    with pytest.raises(Fenced):
        await first.step(0)
    await settle(relay, second)
    assert await world.broken() == set()
