"""What every Bus must do."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

import msgspec
import pytest
from aiokafka.partitioner import DefaultPartitioner
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.bus.consumer import Consumer
from shared.bus.protocol import Bus, BusReader, OffsetOutOfRange, Record, TopicPartition
from shared.bus.relay import Relay
from shared.bus.subscription import Delivery, Subscription
from shared.db.engine import Database
from shared.db.faultpoints import Crashed, armed, crash
from shared.db.outbox import announce
from shared.events.codec import LARGEST_VALUE, Message, MessageTooLarge, encode
from shared.events.pipeline import CUSTOMERS, DEALS, DealChanged
from tests.contracts.logs import ALL, Log, Open
from tests.faults.toy import ToyExport, World, deal_changed, deal_id, settle


def change(number: int, version: int) -> Message:
    return encode(deal_changed(deal_id(number), version, version, 0))


async def read(reader: BusReader, number: int) -> list[Record]:
    """Return the next `number` records, or fewer when no more come."""
    found: list[Record] = []
    async with asyncio.timeout(20):
        while len(found) < number:
            records = await reader.poll(min(500, number - len(found)), 1.0)
            if not records:
                break
            found.extend(records)
    return found


async def reader_of(bus: Bus, *, start: int = 0) -> BusReader:
    reader = bus.reader([DEALS])
    await reader.assign(dict.fromkeys(ALL, start))
    return reader


async def test_the_order_of_a_key_is_kept_and_offsets_are_dense(bus: Bus) -> None:
    for version in range(1, 11):
        await bus.append([change(number, version) for number in range(20)])
    reader = await reader_of(bus)
    records = await read(reader, 201)
    assert len(records) == 200
    versions: dict[str, list[int]] = defaultdict(list)
    offsets: dict[TopicPartition, list[int]] = defaultdict(list)
    for record in records:
        versions[record.message.key].append(int(record.message.headers["ce_sequence"]))
        offsets[record.at].append(record.offset)
    assert all(found == [*range(1, 11)] for found in versions.values())
    assert all(found == [*range(len(found))] for found in offsets.values())
    assert {at: len(found) for at, found in offsets.items()} == {
        at: end for at, end in (await bus.end_offsets(ALL)).items() if end
    }
    await reader.close()


async def test_a_message_comes_out_as_it_went_in(bus: Bus) -> None:
    message = change(1, 1)
    odd = Message(DEALS, "客户:1", {"ce_id": "é", "空": "'\"\\"}, b"\x00\xff")
    await bus.append([message, odd])
    reader = await reader_of(bus)
    assert sorted((record.message for record in await read(reader, 2)), key=lambda one: one.key) == [message, odd]
    await reader.close()


async def test_every_bus_puts_a_key_into_the_partition_that_kafka_would(bus: Bus) -> None:
    await bus.append([change(number, 1) for number in range(50)])
    reader = await reader_of(bus)
    for record in await read(reader, 50):
        assert record.at.partition == DefaultPartitioner()(record.message.key.encode(), [0, 1, 2, 3], [0, 1, 2, 3])
    await reader.close()


async def test_appends_of_many_at_once_leave_no_hole(open_bus: Open) -> None:
    buses = [await open_bus() for _ in range(3)]
    batches = [(buses[number % 3], [change(10 * number - n, 1) for n in range(10)]) for number in range(60)]
    await asyncio.gather(*(bus.append(batch) for bus, batch in batches))
    reader = await reader_of(buses[0])
    records = await read(reader, 601)
    offsets: dict[TopicPartition, list[int]] = defaultdict(list)
    for record in records:
        offsets[record.at].append(record.offset)
    assert len(records) == 600
    assert all(found == [*range(len(found))] for found in offsets.values())
    await reader.close()


async def test_what_was_acknowledged_is_there_for_others_and_another_topic_is_not(open_bus: Open) -> None:
    first, second = await open_bus(), await open_bus()
    assert first.id == second.id
    message = change(1, 1)
    await first.append([message])
    reader = await reader_of(second)
    assert [record.message for record in await read(reader, 1)] == [message]
    customers = second.reader([CUSTOMERS])
    await customers.assign({TopicPartition(CUSTOMERS, part): 0 for part in range(second.partitions(CUSTOMERS))})
    assert await customers.poll(10, 0) == []
    for one in (reader, customers):
        await one.close()


async def test_only_the_assigned_partitions_are_read_from_their_offsets(bus: Bus) -> None:
    await bus.append([change(number, 1) for number in range(100)])
    ends = await bus.end_offsets(ALL)
    reader = bus.reader([DEALS])
    await reader.assign({ALL[0]: 3, ALL[2]: ends[ALL[2]]})
    records = await read(reader, 200)
    assert [(record.at, record.offset) for record in records] == [(ALL[0], n) for n in range(3, ends[ALL[0]])]
    await reader.close()


async def test_seek_pause_resume_and_replay_from_the_beginning(bus: Bus) -> None:
    await bus.append([change(number, 1) for number in range(100)])
    reader = await reader_of(bus)
    everything = {(record.at, record.offset) for record in await read(reader, 100)}
    reader.seek(ALL[1], 2)
    again = await read(reader, 100)
    assert {record.at for record in again} == {ALL[1]}
    assert again[0].offset == 2
    for at in ALL:
        reader.seek(at, 0)
    reader.pause([ALL[1], ALL[3]])
    assert {record.at for record in await read(reader, 100)} == {ALL[0], ALL[2]}
    reader.resume([ALL[1]])
    assert {record.at for record in await read(reader, 100)} == {ALL[1]}
    await reader.assign(dict.fromkeys(ALL, 0))
    assert {(record.at, record.offset) for record in await read(reader, 100)} == everything
    await reader.close()


async def test_a_poll_keeps_its_limit_and_its_time(bus: Bus) -> None:
    reader = await reader_of(bus)
    started = time.monotonic()
    assert await reader.poll(10, 0.3) == []
    assert 0.25 < time.monotonic() - started < 2
    await bus.append([change(number, 1) for number in range(30)])
    assert 0 < len(await reader.poll(10, 5)) <= 10
    await reader.close()


@pytest.mark.parametrize("same_process", [True, False])
async def test_an_append_ends_the_waiting_of_a_poll(open_bus: Open, same_process: bool) -> None:
    bus = await open_bus()
    writer = bus if same_process else await open_bus()
    reader = await reader_of(bus)
    polling = asyncio.create_task(reader.poll(10, 10))
    await asyncio.sleep(0.1)
    started = time.monotonic()
    await writer.append([change(1, 1)])
    assert len(await polling) == 1
    assert time.monotonic() - started < 2
    await reader.close()


async def test_a_large_batch_and_a_large_value_pass(bus: Bus) -> None:
    batch = [change(number % 700, 1 + number // 700) for number in range(7000)]
    await bus.append(batch)
    largest = Message(DEALS, "large", {"ce_type": "x"}, b"x" * LARGEST_VALUE)
    await bus.append([largest])
    reader = await reader_of(bus)
    records = await read(reader, 7001)
    assert len(records) == 7001
    assert largest in [record.message for record in records]
    assert {record.message.headers["ce_id"] for record in records if record.message.key != "large"} == {
        message.headers["ce_id"] for message in batch
    }
    await reader.close()


async def test_what_no_bus_would_take_is_refused_before_the_business_commit(world: World) -> None:
    too_large = msgspec.structs.replace(deal_changed(deal_id(1), 1, 1, 0), changed=("x" * LARGEST_VALUE,))

    async def change_business() -> None:
        async with world.pipeline.transaction() as tx:
            await tx.execute(text("INSERT INTO request VALUES ('of the same transaction')"))
            await announce(tx, [too_large])

    with pytest.raises(MessageTooLarge):
        await change_business()
    async with world.pipeline.transaction() as tx:
        counts = text("SELECT (SELECT count(*) FROM request) + (SELECT count(*) FROM outbox)")
        assert (await tx.execute(counts)).scalar_one() == 0


@pytest.mark.parametrize("wanted", ["forgotten", "not yet there"])
async def test_an_offset_that_is_not_there_is_an_error_and_never_a_jump(log: Log, bus: Bus, wanted: str) -> None:
    async def append() -> None:
        for version in range(1, 40):
            await bus.append([change(number, version) for number in range(8)])

    await log.forget(bus, append)
    lows, ends = await bus.low_offsets(ALL), await bus.end_offsets(ALL)
    at = max(ALL, key=lambda one: ends[one])
    assert 0 < lows[at] < ends[at]
    reader = bus.reader([DEALS])
    await reader.assign({at: 0 if wanted == "forgotten" else ends[at] + 1})
    with pytest.raises(OffsetOutOfRange):
        await reader.poll(10, 1)
    await reader.assign({at: lows[at]})
    assert (await read(reader, 1))[0].offset == lows[at]
    await reader.close()


async def test_what_was_sent_but_not_acknowledged_comes_again(world: World) -> None:
    """At least once: the sender died waiting for the acknowledgement."""
    for number in range(10):
        await world.change(number, 1)
    with armed("relay.sent", 1, crash), pytest.raises(Crashed):
        await world.relay().step()
    await settle(world.relay(), world.consumer())
    assert len(await world.log()) == 20
    assert await world.broken() == set()


async def test_a_killed_member_is_taken_over_without_loss_or_double(world: World, open_bus: Open) -> None:
    """Two members share the partitions; one dies within its transaction; the other one finishes everything."""
    victim_may_die = asyncio.Event()

    async def never_ends(tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
        await tx.execute(text("INSERT INTO cell VALUES ('of the victim', 1, 1)"))
        victim_may_die.set()
        await asyncio.sleep(3600)

    subscription = Subscription("kpi.toy", (DEALS,), {DealChanged: never_ends})
    victim_bus, victim_database = await open_bus(), Database(world.kpi.url, "victim")
    victim = Consumer(victim_database, victim_bus, subscription, ToyExport(world.pipeline))
    survivor, relay = world.consumer(), world.relay()
    await victim.step(0)
    await survivor.step(0)
    await asyncio.sleep(1.1)
    await victim.step(0)
    assert len(await victim.lag()) == 2
    await asyncio.sleep(1.1)
    await survivor.step(0)
    assert len(await survivor.lag()) == 2

    for number in range(40):
        await world.change(number, 1)
    await relay.step()
    dying = asyncio.create_task(victim.run())
    await asyncio.wait_for(victim_may_die.wait(), 10)
    await settle(relay, survivor)
    assert await world.broken() >= {"I7"}
    async with world.kpi.transaction() as tx:
        await tx.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ~ 'victim'")
        )
    started = time.monotonic()
    async with asyncio.timeout(10):
        while await world.broken():
            await survivor.step(0.2)
    assert time.monotonic() - started < 5
    dying.cancel()
    await asyncio.wait({dying})
    await victim_database.close()
    assert len(await survivor.lag()) == 4


async def test_the_group_goes_on_where_it_stood(world: World) -> None:
    relay = world.relay(Relay)
    for version in range(3):
        consumer = world.consumer()
        await world.change(1, version)
        await settle(relay, consumer)
        await consumer.close()
    assert await world.broken() == set()


def test_ids_are_uuids(bus: Bus) -> None:
    assert UUID(bus.id)
