"""Messages that come thrice, late, out of order, unreadable, or that a use case cannot digest (F14 to F16)."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.bus.consumer import apply_messages, parked_streams
from shared.bus.dead_letters import list_dead_letters, replay
from shared.bus.subscription import Delivery
from shared.db.engine import Signal
from shared.events.codec import Message
from tests.faults.toy import GROUP, World, deal_id, fold, settle, write_change


async def outbox(world: World) -> list[Message]:
    """The messages that wait, taken out of the outbox."""
    async with world.pipeline.transaction() as tx:
        rows = await tx.execute(text("SELECT *, headers::text AS head FROM outbox ORDER BY id"))
        found = [
            Message(row.topic, row.key, msgspec.json.decode(row.head, type=dict[str, str]), row.value) for row in rows
        ]
        await tx.execute(text("DELETE FROM outbox"))
    return found


def stream(number: int) -> str:
    return f"deal:{deal_id(number)}"


@pytest.mark.parametrize("seed", range(6))
async def test_every_message_thrice_in_any_order(world: World, seed: int) -> None:
    """F14: also out of order within a stream, as after a producer that lost its way."""
    chance = random.Random(seed)
    for number in range(60):
        await world.change(number % 6, number)
    messages = 3 * await outbox(world)
    chance.shuffle(messages)
    relay, consumer = world.relay(), world.consumer()
    while messages:
        size = chance.randint(1, 40)
        await world.bus.append(messages[:size])
        messages = messages[size:]
        if chance.random() < 0.5:
            await consumer.step(0)
    await settle(relay, consumer)
    assert await world.broken() <= {"I4"}


async def test_a_delayed_partition_holds_up_no_other(world: World) -> None:
    for number in range(20):
        await world.change(number, 1)
        await world.change(number, 2)
    messages = await outbox(world)
    late = {key for key in {message.key for message in messages} if hash(key) % 4 == 0} or {messages[0].key}
    await world.bus.append([message for message in messages if message.key not in late])
    relay, consumer = world.relay(), world.consumer()
    await settle(relay, consumer)
    async with world.kpi.transaction() as tx:
        applied = (await tx.execute(text("SELECT count(*) FROM ledger"))).scalar_one()
    assert applied == sum(message.key not in late for message in messages)
    await world.bus.append([message for message in messages if message.key in late])
    await settle(relay, consumer)
    assert await world.broken() == set()


async def test_a_commit_that_becomes_visible_late_is_not_lost(world: World) -> None:
    """F16: the trap of every cursor. The row with the lowest id appears after 300 others have been relayed."""
    relay, consumer = world.relay(), world.consumer()
    async with world.pipeline.transaction() as late:
        await write_change(late, 1000, 5)
        for number in range(300):
            await world.change(number % 30, number)
            if number % 50 == 49:
                await settle(relay, consumer)
        assert "I3" not in await world.broken()
    await settle(relay, consumer)
    assert await world.broken() == set()
    assert {message.key for message in await world.log()} >= {stream(1000)}


class Mended:
    """A use case that cannot digest the changes of some deals to 13, until it is mended."""

    def __init__(self, *deals: int) -> None:
        self.deals = {deal_id(number) for number in deals}
        self.calls = 0

    async def __call__(self, tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
        self.calls += 1
        await fold(tx, deliveries)
        for delivery in deliveries:
            if delivery.event.deal_id in self.deals and delivery.event.deal.amount == 13:
                message = f"13 cannot be digested: {delivery.event.deal_id}"
                raise ValueError(message)


async def test_a_poison_is_found_among_many_and_replayed_once_mended(world: World) -> None:
    """F15: a fault of the use case on some events; the others of the same partition go on."""
    for number in range(120):
        await world.change(number % 12, 13 if number in (30, 31, 54) else number)
    handler = Mended(30 % 12, 31 % 12)
    subscription = world.subscription(handler)
    relay, consumer = world.relay(), world.consumer(subscription=subscription)
    await settle(relay, consumer)
    async with world.kpi.transaction() as tx:
        letters = await list_dead_letters(tx, GROUP, 10)
        assert {(letter.stream, letter.version) for letter in letters} == {(stream(6), 3), (stream(7), 3)}
        assert {letter.code for letter in letters} == {"handler_failed"}
        assert all("13 cannot be digested" in letter.error for letter in letters)
        assert await parked_streams(tx, GROUP) == 2
        ledger = Counter((await tx.execute(text("SELECT deal_id FROM ledger"))).scalars())
    assert ledger == {deal_id(number): 2 if number in (6, 7) else 10 for number in range(12)}

    assert (await replay(world.kpi, [subscription], letters[0].id)).result == "failed"
    handler.deals.clear()
    assert [(await replay(world.kpi, [subscription], letter.id)).result for letter in letters] == ["applied"] * 2
    assert (await replay(world.kpi, [subscription], letters[0].id)).result == "duplicate"
    async with world.kpi.transaction() as tx:
        assert await parked_streams(tx, GROUP) == 0
    assert await world.broken() == set()


async def test_a_poison_parked_behind_a_good_event_is_the_one_that_is_isolated(world: World) -> None:
    for amount in (1, 13, 3):
        await world.change(1, amount)
    first, poison, last = await outbox(world)
    subscription = world.subscription(Mended(1))
    assert (await apply_messages(world.kpi, subscription, [last, poison])).count("parked") == 2
    outcome = await apply_messages(world.kpi, subscription, [first])
    assert (outcome.count("applied"), outcome.count("dead")) == (1, 1)
    async with world.kpi.transaction() as tx:
        (letter,) = await list_dead_letters(tx, GROUP, 10)
        assert letter.version == 2
        assert (await tx.execute(text("SELECT version FROM parked_message"))).scalars().all() == [3]


async def test_what_cannot_be_read_is_set_aside_and_the_rest_goes_on(world: World) -> None:
    """F15: bad JSON, wrong data, an envelope without identity, no value, two megabytes; unknown types are no fault."""
    for number in range(6):
        await world.change(number, 1)
        await world.change(number, 2)
    good = await outbox(world)
    first = {message.key: message for message in reversed(good)}

    def broken(number: int, **changes: object) -> Message:
        return replace(first[stream(number)], **changes)

    def without(number: int, header: str) -> Message:
        message = first[stream(number)]
        return replace(message, headers={name: text for name, text in message.headers.items() if name != header})

    unknown = replace(first[stream(5)], headers={**first[stream(5)].headers, "ce_type": "pipeline.deal.sung.v9"})
    injected = [
        broken(0, value=b"{not json"),
        broken(1, value=b'{"version": "one"}'),
        broken(2, value=b""),
        broken(3, value=b'"' + b"x" * 2_000_000 + b'"'),
        without(4, "ce_subject"),
    ]
    await world.bus.append([*injected, unknown])
    await world.bus.append([message for message in good if message is not first[message.key]])
    relay, consumer = world.relay(), world.consumer()
    await settle(relay, consumer)
    async with world.kpi.transaction() as tx:
        letters = await list_dead_letters(tx, GROUP, 10)
        assert sorted(letter.message.value for letter in letters) == sorted(message.value for message in injected)
        assert {letter.code for letter in letters} == {"unreadable"}
        assert await parked_streams(tx, GROUP) == 5
        rows = await tx.execute(text("SELECT stream, version FROM stream_position"))
        positions = {row.stream: row.version for row in rows}
    # The unknown type took version 1 of deal 5: a newer owner's events must not hold up their stream.
    assert positions == {stream(5): 2}
    await world.bus.append([first[stream(number)] for number in range(5)])
    await settle(relay, consumer)
    async with world.kpi.transaction() as tx:
        ledger = Counter((await tx.execute(text("SELECT deal_id FROM ledger"))).scalars())
        waiting = [letter for letter in await list_dead_letters(tx, GROUP, 10) if letter.replayed_at is None]
    assert ledger == {deal_id(number): 1 if number == 5 else 2 for number in range(6)}
    # What was repaired by a later, readable copy waits no longer; only the one that named no stream does.
    assert [letter.stream for letter in waiting] == [None]


async def test_the_surroundings_never_make_a_dead_letter(world: World) -> None:
    """F13: a lock that cannot be had, a deadlock, a dead connection: tried again until it works."""
    failures = iter(["SELECT pg_terminate_backend(pg_backend_pid())", "SET LOCAL lock_timeout = 50"])

    async def hindered(tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
        if statement := next(failures, None):
            await tx.execute(text(statement))
            await tx.execute(text("LOCK TABLE cell"))
        await fold(tx, deliveries)

    for number in range(8):
        await world.change(number, 1)
    committed = Signal()
    relay = world.relay()
    consumer = world.consumer(subscription=replace(world.subscription(hindered), committed=committed))
    while await relay.step():
        pass
    async with world.kpi.transaction() as blocker:
        await blocker.execute(text("LOCK TABLE cell IN SHARE MODE"))
        running = asyncio.create_task(consumer.run())
        await asyncio.sleep(1.0)
        assert not running.done()
    assert await committed.wait(20)
    running.cancel()
    await asyncio.wait({running})
    async with world.kpi.transaction() as tx:
        assert await list_dead_letters(tx, None, 10) == []
    assert await world.broken() == set()
