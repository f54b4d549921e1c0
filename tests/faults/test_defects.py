"""The checks can fail: each of three deliberate defects must be found by the very scenario that the real parts pass."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.bus.arrivals import Arrival
from shared.bus.consumer import Consumer
from shared.bus.intake import Intake, Sorting
from shared.bus.offsets import BatchFence, Fenced
from shared.bus.protocol import Bus, TopicPartition
from shared.bus.relay import Relay
from shared.bus.subscription import Delivery, OwnerExport, Subscription
from shared.db.engine import Database
from shared.db.faultpoints import armed, crash
from tests.faults.scenario import play
from tests.faults.toy import World, fold, settle


class HastyRelay(Relay):
    """Deletes before the bus has acknowledged."""

    async def deliver(self, rows: Sequence[Row[int, str, str, str, bytes]]) -> None:
        await self._delete(rows)
        await self._send(rows)


class CredulousSorting(Sorting):
    """Takes every event for one that is new, whatever its version."""

    def add(self, arrival: Arrival) -> None:
        self._take(arrival)
        if arrival.stream is not None and arrival.envelope is not None:
            self.versions[arrival.stream] = arrival.envelope.version


class CredulousIntake(Intake):
    """Applies without the version guard."""

    sorting = CredulousSorting


class CredulousConsumer(Consumer):
    """Consumes without the version guard."""

    def __init__(self, database: Database, bus: Bus, subscription: Subscription, export: OwnerExport) -> None:
        super().__init__(database, bus, subscription, export)
        self._intake = CredulousIntake(subscription)


class NoFence(BatchFence):
    """Neither locks nor looks at epoch and offset: whoever has fetched, applies."""

    async def enter(self, _tx: AsyncConnection, arrivals: Sequence[Arrival]) -> Sequence[Arrival]:
        self.next_offsets = {arrival.record.at: arrival.record.offset + 1 for arrival in arrivals}
        return arrivals


class UnfencedConsumer(Consumer):
    """Consumes without the fence."""

    def _fence(self, parts: Sequence[TopicPartition]) -> BatchFence:
        return NoFence(self._group, {at: self._epochs[at] for at in parts})


async def relay_dies_around_the_send(world: World, relay: type[Relay], consumer: type[Consumer]) -> None:
    """F2, before the bus has committed."""
    with armed("bus.append", 2, crash):
        assert await play(world, relay, consumer) == 1


async def relay_sends_again(world: World, relay: type[Relay], consumer: type[Consumer]) -> None:
    """F2, after the bus has committed and before the relay has deleted."""
    with armed("bus.appended", 2, crash):
        assert await play(world, relay, consumer) == 1


async def owner_comes_back(world: World, relay: type[Relay], consumer: type[Consumer]) -> None:
    """F6: an owner freezes within its transaction, another takes over, then the first one goes on."""
    frozen, thaw = asyncio.Event(), asyncio.Event()

    async def slow(tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
        frozen.set()
        await thaw.wait()
        await fold(tx, deliveries)

    for number in range(10):
        await world.change(number, 100)
    sender = world.relay(relay)
    await sender.step()
    first, second = world.consumer(consumer, world.subscription(slow)), world.consumer(consumer)
    zombie = asyncio.create_task(first.step(0))
    await asyncio.wait_for(frozen.wait(), 10)
    await _end_sessions(world, "kpi-dedicated")
    taking = asyncio.create_task(settle(sender, second))
    # With the fence the other one waits here until the zombie's transaction is over.
    await asyncio.wait({taking}, timeout=1)
    thaw.set()
    await asyncio.gather(zombie, taking, return_exceptions=True)
    await settle(sender, second)


async def _end_sessions(world: World, application: str) -> None:
    connection = await world.pipeline.connect_dedicated()
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", application
    )
    await connection.close()


Scenario = Callable[[World, type[Relay], type[Consumer]], Awaitable[None]]
# The scenario that must find each defect, the defective parts, and the invariants that they break.
DEFECTS: dict[str, tuple[Scenario, type[Relay], type[Consumer], set[str]]] = {
    "delete before acknowledgement": (relay_dies_around_the_send, HastyRelay, Consumer, {"I3"}),
    "version guard dropped": (relay_sends_again, Relay, CredulousConsumer, {"I6", "I7"}),
    "fence dropped": (owner_comes_back, Relay, UnfencedConsumer, {"I6", "I7"}),
}


@pytest.mark.parametrize("defect", DEFECTS)
async def test_the_defect_is_found(world: World, defect: str) -> None:
    scenario, relay, consumer, broken = DEFECTS[defect]
    await scenario(world, relay, consumer)
    assert await world.broken() >= broken


@pytest.mark.parametrize("defect", DEFECTS)
async def test_the_same_scenario_is_survived_without_it(world: World, defect: str) -> None:
    await DEFECTS[defect][0](world, Relay, Consumer)
    assert await world.broken() == set()


async def test_a_fenced_owner_writes_nothing(world: World) -> None:
    """Another one has taken over between fetch and apply: the batch is dropped with all its effects."""
    await world.change(1, 100)
    relay, first, second = world.relay(), world.consumer(), world.consumer()
    await relay.step()
    assert await first.step(0) == 1
    await world.change(1, 200)
    await relay.step()
    await _end_sessions(world, "kpi-dedicated")
    assert await second.step(0) == 1
    await world.change(1, 300)
    await relay.step()
    with pytest.raises(Fenced):
        await first.step(0)
    await settle(relay, second)
    assert await world.broken() == set()
