"""What lag tools see of the groups; and that nobody depends on it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiokafka.errors import KafkaError
from sqlalchemy import text

from shared.bus.protocol import TopicPartition
from tests.contracts.logs import ALL, KafkaLog, Log, Open
from tests.faults.toy import GROUP, World, settle, until
from tests.kafka_brokers import committed_offsets

Committed = Callable[[], Awaitable[dict[TopicPartition, int]]]

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.timeout(240),
    pytest.mark.parametrize("log", [pytest.param("kafka", marks=pytest.mark.kafka)], indirect=True),
]


@pytest.fixture
def committed(log: Log) -> Committed:
    """`await committed()` returns the group's offsets in Kafka, by partition."""
    assert isinstance(log, KafkaLog)
    servers, prefix = log.servers, log.prefix

    async def ask() -> dict[TopicPartition, int]:
        try:
            found = await committed_offsets(servers, prefix + GROUP)
        except KafkaError:
            # Kafka makes its place for offsets when the first group asks for it.
            return {}
        return {TopicPartition(at.topic.removeprefix(prefix), at.partition): offset for at, offset in found.items()}

    return ask


async def next_offsets(world: World) -> dict[TopicPartition, int]:
    """Return the truth, as the group's own database has it."""
    async with world.kpi.transaction() as tx:
        rows = await tx.execute(text("SELECT topic, part, next_off FROM consumer_offset WHERE grp = :g"), {"g": GROUP})
        return {TopicPartition(row.topic, row.part): row.next_off for row in rows}


async def test_what_was_consumed_is_committed_within_seconds(world: World, committed: Committed) -> None:
    running = [asyncio.create_task(one.run()) for one in (world.relay(), world.consumer())]
    for round_ in (1, 2):
        for number in range(20):
            await world.change(number, round_)
        await until(lambda: _is_whole(world), 60)
        truth = await next_offsets(world)
        assert sum(truth.values()) == 20 * round_

        async def told(truth: dict[TopicPartition, int] = truth) -> bool:
            return await committed() == truth

        await until(told, 60)
    for task in running:
        task.cancel()
    await asyncio.wait(running)


async def _is_whole(world: World) -> bool:
    return not await world.broken()


async def test_nobody_reads_what_is_committed(world: World, open_bus: Open, committed: Committed) -> None:
    """Another one may commit whatever it likes: the group goes on where its own database says."""
    for number in range(20):
        await world.change(number, 1)
    consumer = world.consumer()
    await settle(world.relay(), consumer)
    await consumer.close()
    stranger = await open_bus()
    wrong = dict.fromkeys(ALL, 1_000_000)

    async def tell_until_told() -> bool:
        stranger.tell(GROUP, wrong)
        return await committed() == wrong

    await until(tell_until_told, 60)
    for number in range(20):
        await world.change(number, 2)
    await settle(world.relay(), world.consumer())
    assert await world.broken() == set()
