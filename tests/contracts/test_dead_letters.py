"""A dead letter is on the bus as surely as it is in its table: told once, whole, and never in a circle."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaProducer
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.bus.consumer import Consumer
from shared.bus.dead_letter_rows import DeadLetter
from shared.bus.dead_letters import list_dead_letters, replay
from shared.bus.protocol import TopicPartition
from shared.bus.relay import Relay
from shared.bus.subscription import Delivery, Subscription
from shared.clock import rfc3339
from shared.db.faultpoints import Crashed, armed, crash
from shared.events.catalogue import dead_topic
from shared.events.codec import LARGEST_VALUE, Message, decode, encode, read_envelope
from shared.events.pipeline import DEALS, DealChanged
from tests.contracts.logs import KafkaLog, Log
from tests.faults.toy import World, deal_changed, deal_id, fold, settle

GROUP = "kpi"
DEAD = TopicPartition(dead_topic(GROUP), 0)


async def refuse_13(tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
    await fold(tx, deliveries)
    if any(delivery.event.deal.amount == 13 for delivery in deliveries):  # type: ignore[attr-defined]
        message = "13 cannot be digested"
        raise ValueError(message)


REFUSING = Subscription(GROUP, (DEALS,), {DealChanged: refuse_13})
MENDED = Subscription(GROUP, (DEALS,), {DealChanged: fold})


def change(number: int, amount: int = 1, version: int = 1) -> Message:
    return encode(deal_changed(deal_id(number), version, amount, 0))


async def consume(world: World, subscription: Subscription = REFUSING) -> None:
    """Consume everything that is on the bus."""
    consumer = world.consumer(subscription=subscription)
    await settle(world.relay(), consumer)
    await consumer.close()


async def told(world: World) -> list[Message]:
    """Relay kpi's outbox, and return what its topic of dead letters has."""
    relay = Relay(world.kpi, world.bus, "kpi")
    while await relay.step():
        pass
    reader = world.bus.reader([DEAD.topic])
    await reader.assign({DEAD: 0})
    found: list[Message] = []
    while records := await reader.poll(500, 0):
        found.extend(record.message for record in records)
    await reader.close()
    return found


async def letters(world: World) -> Sequence[DeadLetter]:
    async with world.kpi.transaction() as tx:
        return await list_dead_letters(tx, GROUP, 100)


def said(message: Message) -> dict[str, str]:
    return {name: value for name, value in message.headers.items() if name.startswith("dead_letter_")}


async def test_it_is_told_with_all_that_the_event_had_and_what_happened(world: World) -> None:
    refused = change(1, 13)
    unreadable = replace(change(2), value=b"{not json")
    await world.bus.append([refused, unreadable, change(3)])
    await consume(world)
    found = {message.key: message for message in await told(world)}
    kept = {letter.message.key: letter for letter in await letters(world)}
    assert found.keys() == kept.keys() == {refused.key, unreadable.key}
    for original, code, error in (
        (refused, "handler_failed", "ValueError: 13 cannot be digested"),
        (unreadable, "unreadable", "pipeline.deal.changed.v1 cannot be read"),
    ):
        message, letter = found[original.key], kept[original.key]
        assert (message.topic, message.value) == (DEAD.topic, original.value)
        assert message.headers.items() >= original.headers.items()
        assert letter.failed_at is not None
        assert said(message) == {
            "dead_letter_id": str(letter.id),
            "dead_letter_group": GROUP,
            "dead_letter_code": code,
            "dead_letter_error": letter.error,
            "dead_letter_topic": DEALS,
            "dead_letter_partition": str(letter.partition),
            "dead_letter_offset": "0",
            "dead_letter_failed_at": rfc3339(letter.failed_at),
        }
        assert letter.error.startswith(error)
    assert decode(found[refused.key]) == decode(refused)
    assert read_envelope(found[unreadable.key]) == read_envelope(unreadable)


@pytest.mark.parametrize("place", ["consumer.commit", "consumer.committed"])
@pytest.mark.parametrize("poison", [change(1, 13), replace(change(1), value=b"")], ids=["refused", "unreadable"])
async def test_it_is_told_once_when_the_consumer_dies_around_the_commit(
    world: World, place: str, poison: Message
) -> None:
    await world.bus.append([poison])
    consumer = world.consumer(subscription=REFUSING)
    with armed(place, 1, crash), pytest.raises(Crashed):
        await _until_interrupted(consumer)
    async with world.kpi.transaction() as tx:
        counts = text("SELECT (SELECT count(*) FROM dead_letter), (SELECT count(*) FROM outbox)")
        assert tuple((await tx.execute(counts)).one()) == ((0, 0) if place == "consumer.commit" else (1, 1))
    await consumer.close()
    await consume(world)
    assert [message.key for message in await told(world)] == [poison.key]
    assert len(await letters(world)) == 1


async def _until_interrupted(consumer: Consumer) -> None:
    for _ in range(20):
        await consumer.step(0)


async def test_what_comes_again_while_it_waits_is_no_news_and_what_fails_after_a_replay_is(world: World) -> None:
    poison = change(1, 13)
    await world.bus.append([poison])
    await consume(world)
    await world.bus.append([poison, poison])
    await consume(world)
    (letter,) = await letters(world)
    assert (await replay(world.kpi, [REFUSING], letter.id)).result == "failed"
    assert [said(message)["dead_letter_id"] for message in await told(world)] == [str(letter.id)]
    async with world.kpi.transaction() as tx:
        await tx.execute(text("UPDATE dead_letter SET replayed_at = now()"))
    await world.bus.append([poison])
    await consume(world)
    first, second = await told(world)
    assert first.headers["dead_letter_id"] == second.headers["dead_letter_id"]
    assert first.headers["dead_letter_failed_at"] < second.headers["dead_letter_failed_at"]


async def test_a_replay_works_as_ever_and_tells_nothing(world: World) -> None:
    await world.bus.append([change(1, 13), change(1, 2, version=2)])
    await consume(world)
    (letter,) = await letters(world)
    assert (await replay(world.kpi, [MENDED], letter.id)).result == "applied"
    async with world.kpi.transaction() as tx:
        assert (await tx.execute(text("SELECT version FROM ledger ORDER BY 1"))).scalars().all() == [1, 2]
    assert len(await told(world)) == 1


async def test_what_comes_from_a_topic_of_dead_letters_is_put_aside_in_silence(world: World) -> None:
    await world.bus.append([change(1, 13)])
    await consume(world)
    (message,) = await told(world)
    for _ in range(3):
        await consume(world, Subscription(GROUP, (DEAD.topic,), {DealChanged: refuse_13}))
    assert {letter.message.topic for letter in await letters(world)} == {DEALS, DEAD.topic}
    assert await told(world) == [message]


async def test_what_no_broker_would_take_is_told_without_it(world: World) -> None:
    """The relay must never meet a message that it cannot send: it would stand still for ever."""
    large = replace(change(1), key="k" * 5_000, value=b"x" * (LARGEST_VALUE + 1))
    many = replace(change(2), value=b"y" * 800_000)
    many = replace(many, headers={**many.headers, **{f"h{number}": "z" * 1_000 for number in range(100)}})
    await world.bus.append([large])
    await world.bus.append([many])
    await consume(world)
    found = {said(message)["dead_letter_omitted"]: message for message in await told(world)}
    assert found.keys() == {"key,value", "headers"}
    assert (found["key,value"].key, found["key,value"].value) == ("k" * 4_000, b"")
    assert found["headers"].value == many.value
    assert all(read_envelope(message).type == "pipeline.deal.changed.v1" for message in found.values())
    kept = {letter.message.key: letter.message for letter in await letters(world)}
    assert kept == {message.key: message for message in (large, many)}


ODD: dict[str, dict[str, bytes]] = {
    "a subject that no index takes": {"ce_subject": b"deal:" + bytes(range(33, 127)) * 60},
    "a subject with a NUL": {"ce_subject": b"deal:\x00"},
    "a version that no column takes": {"ce_sequence": b"9" * 30},
    "a header that is no text": {"x": b"\xff\x00\xfe"},
}


@pytest.mark.kafka
@pytest.mark.parametrize("log", [pytest.param("kafka", marks=pytest.mark.kafka)], indirect=True)
async def test_what_no_table_takes_holds_up_nobody(log: Log, world: World) -> None:
    """Others may write whatever bytes they like into a topic in Kafka."""
    assert isinstance(log, KafkaLog)
    good = change(1)
    producer = AIOKafkaProducer(bootstrap_servers=log.servers)
    await producer.start()
    try:
        for changes in ODD.values():
            await _send(producer, log, b"\xff\x00 key", b"{", {**_headers(good), **changes})
        await _send(producer, log, None, b"", _headers(change(2)))
        await _send(producer, log, b"a tombstone", None, _headers(change(3)))
        await _send(producer, log, good.key.encode(), good.value, _headers(good))
    finally:
        await producer.stop()
    await consume(world)
    found = await told(world)
    assert len(found) == len(await letters(world)) == len(ODD) + 2
    assert {message.key for message in found} == {"\ufffd\ufffd key", "", "a tombstone"}
    async with world.kpi.transaction() as tx:
        assert (await tx.execute(text("SELECT deal_id FROM ledger"))).scalars().all() == [deal_id(1)]


def _headers(message: Message) -> dict[str, bytes]:
    return {name: value.encode() for name, value in message.headers.items()}


async def _send(
    producer: AIOKafkaProducer, log: KafkaLog, key: bytes | None, value: bytes | None, headers: dict[str, bytes]
) -> None:
    await producer.send_and_wait(log.prefix + DEALS, value, key, partition=0, headers=[*headers.items()])
