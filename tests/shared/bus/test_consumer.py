"""The consumer beyond faults: runs, causes, holes, healing, and beginning anew from the owner's export."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.bus.consumer import Consumer, apply_messages, parked_streams
from shared.bus.healing import Healer
from shared.bus.intake import Intake
from shared.bus.offsets import lag
from shared.bus.postgres import PostgresBus
from shared.bus.protocol import BusReader, Record, TopicPartition
from shared.bus.subscription import Delivery, ExportUnavailable, Subscription
from shared.db.engine import Database, Signal
from shared.events.base import Names
from shared.events.codec import Message, encode
from shared.events.pipeline import DEALS, PROCESSES, DealChanged, DealDeleted, ProcessChanged
from shared.tracing import bound_cause, caused_by, new_cause
from tests.faults.toy import GROUP, ToyExport, World, deal_changed, deal_id, fold, settle

AT_ONCE = timedelta(0)


async def drop_from_outbox(world: World, *versions: int) -> None:
    """Lose events on the way to the log, as no relay would."""
    async with world.pipeline.transaction() as tx:
        await tx.execute(
            text("DELETE FROM outbox WHERE (headers ->> 'ce_sequence')::int = ANY(:versions)"),
            {"versions": list(versions)},
        )


async def heal(world: World) -> int:
    healer = Healer(world.kpi, Intake(world.subscription()), world.export, world.bus)
    outcome = await healer.heal({TopicPartition(DEALS, part): 1 for part in range(4)}, AT_ONCE)
    return outcome.count("applied")


async def test_a_gap_is_closed_from_the_owners_export(world: World) -> None:
    for amount in range(1, 7):
        await world.change(1, amount)
    await drop_from_outbox(world, 2, 3)
    await settle(world.relay(), world.consumer())
    assert await world.broken() == {"I3", "I5", "I6", "I7"}
    async with world.kpi.transaction() as tx:
        assert await parked_streams(tx, GROUP) == 1
    assert await heal(world) == 5
    assert world.export.asked == [f"{DEALS} deal:{deal_id(1)} after 1"]
    assert await world.broken() == {"I3"}


async def test_a_gap_that_is_young_or_of_another_member_is_left_alone(world: World) -> None:
    await world.change(1, 1)
    await world.change(1, 2)
    await drop_from_outbox(world, 1)
    await settle(world.relay(), world.consumer())
    healer = Healer(world.kpi, Intake(world.subscription()), world.export, world.bus)
    everything = {TopicPartition(DEALS, part): 1 for part in range(4)}
    assert (await healer.heal(everything)).count("applied") == 0
    assert (await healer.heal({}, AT_ONCE)).count("applied") == 0
    assert world.export.asked == []


async def test_an_owner_who_cannot_be_asked_interrupts_nothing(world: World) -> None:
    class Away(ToyExport):
        async def after(self, topic: str, stream: str, version: int) -> Sequence[Message]:
            await super().after(topic, stream, version)
            raise ExportUnavailable

    await world.change(1, 1)
    await world.change(1, 2)
    await drop_from_outbox(world, 1)
    await settle(world.relay(), world.consumer())
    healer = Healer(world.kpi, Intake(world.subscription()), Away(world.pipeline), world.bus)
    assert (await healer.heal({TopicPartition(DEALS, part): 1 for part in range(4)}, AT_ONCE)).results == {}


async def test_what_waits_behind_a_dead_letter_is_not_asked_for(world: World) -> None:
    async def fails(tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
        raise ValueError

    await world.change(1, 1)
    await world.change(1, 2)
    await settle(world.relay(), world.consumer(subscription=world.subscription(fails)))
    assert await heal(world) == 0
    assert world.export.asked == []


async def forget(world: World, below: int) -> None:
    """Let the log's retention pass over the first records of each partition."""
    async with world.bus._database.transaction() as tx:
        await tx.execute(
            text("UPDATE bus_log SET ts = ts - interval '15 days' WHERE off < :below AND topic = :topic"),
            {"below": below, "topic": DEALS},
        )
    await world.bus.expire()


async def test_a_consumer_that_was_away_too_long_begins_anew_and_goes_on(world: World) -> None:
    relay, consumer = world.relay(), world.consumer()
    for number in range(12):
        await world.change(number % 4, number)
    await settle(relay, consumer)
    await consumer.close()
    for number in range(40):
        await world.change(number % 4, number)
    while await relay.step():
        pass
    await forget(world, 11)
    await settle(relay, consumer)
    assert world.export.asked == [f"pages {DEALS}"]
    assert await world.broken() == {"I3"}
    await world.change(1, 99)
    await settle(relay, consumer)
    assert world.export.asked == [f"pages {DEALS}"]
    assert await world.broken() == {"I3"}


async def test_retention_that_overtakes_a_reader_is_noticed(world: World) -> None:
    relay, consumer = world.relay(), world.consumer()
    await consumer.step(0)
    for number in range(40):
        await world.change(number % 4, number)
    while await relay.step():
        pass
    await forget(world, 5)
    # Each poll tells of one partition, the next step begins it anew.
    for _ in range(9):
        await consumer.step(0)
    assert await world.broken() == {"I3"}


async def test_a_new_group_reads_the_log_only_where_it_is_complete(world: World) -> None:
    relay = world.relay()
    for number in range(40):
        await world.change(number % 4, number)
    while await relay.step():
        pass
    complete = world.consumer(subscription=replace(world.subscription(), group="kpi.complete"))
    assert await complete.step(0) > 0
    assert world.export.asked == []
    await forget(world, 1)
    await settle(relay, world.consumer())
    assert world.export.asked == [f"pages {DEALS}"]
    async with world.kpi.transaction() as tx:
        await tx.execute(text("DELETE FROM stream_position WHERE grp <> :grp"), {"grp": GROUP})
        assert (await tx.execute(text("SELECT count(*) FROM parked_message"))).scalar_one() == 0
        assert (await lag(tx, world.bus, world.subscription())) == {TopicPartition(DEALS, part): 0 for part in range(4)}


async def test_another_log_is_another_beginning(world: World, empty_database: Callable[[], str]) -> None:
    """Offsets of the old log mean nothing in the new one, and what only the old one had is in the export."""
    relay, consumer = world.relay(), world.consumer()
    for number in range(30):
        await world.change(number % 4, number)
    await settle(relay, consumer)
    for number in range(5):
        await world.change(number % 4, 7)
    while await relay.step():
        pass
    await consumer.close()
    old, world.bus = world.bus, PostgresBus(Database(empty_database(), "bus"))
    await old.close()
    await world.bus.prepare()
    for number in range(8):
        await world.change(number % 4, 70 + number)
    await settle(world.relay(), world.consumer())
    assert world.export.asked == [f"pages {DEALS}"]
    assert await world.broken() == {"I3"}


class Stubborn(ToyExport):
    """Refuses once, then breaks off after one page, then answers."""

    tries = 0

    async def pages(self, topic: str) -> AsyncIterator[Sequence[Message]]:
        self.tries += 1
        if self.tries == 1:
            raise ExportUnavailable
        async for page in super().pages(topic):
            yield page
            if self.tries == 2:
                raise ExportUnavailable


async def test_a_resync_that_fails_holds_up_no_other_topic_and_is_begun_again(world: World) -> None:
    seen: list[int] = []

    async def note(tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
        seen.extend(delivery.event.version for delivery in deliveries)

    relay = world.relay()
    for number in range(40):
        await world.change(number % 4, number)
    await world.bus.append([encode(process(1))])
    while await relay.step():
        pass
    await forget(world, 1)
    subscription = Subscription(GROUP, (DEALS, PROCESSES), {DealChanged: fold, ProcessChanged: note})
    consumer = Consumer(world.kpi, world.bus, subscription, Stubborn(world.pipeline))
    await consumer.step(0)
    assert seen == [1]
    for _ in range(2):
        await consumer.close()
        await consumer.step(0)
    await consumer.close()
    assert await world.broken() == {"I3"}


def process(version: int) -> ProcessChanged:
    return ProcessChanged(
        version=version, recorded_at=datetime(2026, 1, 1, tzinfo=UTC), code="standard", process_version=version,
        name=Names(zh="标准", en="standard"), stages=(),
    )  # fmt: skip


async def test_use_cases_get_runs_in_order_with_their_cause(world: World) -> None:
    runs: list[tuple[str, list[int], Any]] = []

    def recorder(name: str):
        async def record(tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
            runs.append((name, [delivery.event.version for delivery in deliveries], bound_cause()))

        return record

    deal = deal_id(1)
    deleted = DealDeleted(
        version=3, recorded_at=deal_changed(deal, 1, 1, 0).recorded_at, occurred_at=None, deal_id=deal,
        deal=deal_changed(deal, 1, 1, 0).deal,
    )  # fmt: skip
    with caused_by(new_cause("the first request")):
        messages = [
            encode(event) for event in (deal_changed(deal, 1, 1, 0), deal_changed(deal, 2, 2, 1), deleted, process(4))
        ]
    committed = Signal()
    subscription = Subscription(
        GROUP,
        (DEALS, PROCESSES),
        {DealChanged: recorder("changed"), ProcessChanged: recorder("process")},
        committed=committed,
    )
    outcome = await apply_messages(world.kpi, subscription, messages)
    assert [(name, versions) for name, versions, _ in runs] == [("changed", [1, 2]), ("process", [4])]
    # Two events have two causes; a single one is the cause of whatever its use case announces.
    assert runs[0][2] is None
    assert runs[1][2].correlation_id == "the first request"
    assert runs[1][2].causation_id == messages[3].headers["ce_id"]
    assert await committed.wait(0.01)
    assert (outcome.count("applied"), outcome.count("skipped")) == (3, 1)
    # What nobody subscribed to still takes its version; state events are not guarded here: the newest wins there.
    assert (await apply_messages(world.kpi, subscription, messages)).results == {
        ("pipeline.deal.changed.v1", "duplicate"): 2,
        ("pipeline.deal.deleted.v1", "duplicate"): 1,
        ("pipeline.process.changed.v1", "applied"): 1,
    }


@dataclass
class Forgetful:
    """A reader that loses a fetched batch: its position has moved, the records have not arrived."""

    reader: BusReader
    loses: int = 2

    async def poll(self, limit: int, timeout: float) -> Sequence[Record]:
        records = await self.reader.poll(min(limit, 5), timeout)
        if records and self.loses:
            self.loses -= 1
            return await self.reader.poll(min(limit, 5), timeout)
        return records

    async def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        await self.reader.assign(positions)

    def seek(self, at: TopicPartition, offset: int) -> None:
        self.reader.seek(at, offset)

    def pause(self, parts: Collection[TopicPartition]) -> None:
        self.reader.pause(parts)

    def resume(self, parts: Collection[TopicPartition]) -> None:
        self.reader.resume(parts)

    async def close(self) -> None:
        await self.reader.close()


async def test_a_batch_that_was_lost_on_the_way_leaves_no_hole(world: World) -> None:
    for number in range(60):
        await world.change(number % 3, number)
    relay, consumer = world.relay(), world.consumer()
    await consumer.step(0)
    consumer._reader = Forgetful(consumer._reader)
    await settle(relay, consumer)
    assert await world.broken() == set()
    async with world.kpi.transaction() as tx:
        assert await lag(tx, world.bus, world.subscription()) == {TopicPartition(DEALS, part): 0 for part in range(4)}


async def test_a_services_own_state_may_keep_the_versions(world: World) -> None:
    class DealVersions:
        """The ledger itself tells how far each deal is."""

        async def lock(self, tx: AsyncConnection, streams: Sequence[str]) -> Mapping[str, int]:
            rows = await tx.execute(
                text("SELECT 'deal:' || deal_id AS stream, max(version) AS v FROM ledger GROUP BY 1")
            )
            known = {row.stream: row.v for row in rows}
            return {stream: known.get(stream, 0) for stream in streams}

        async def store(self, tx: AsyncConnection, versions: Mapping[str, int]) -> None:
            """The fold has stored them."""

    subscription = replace(world.subscription(), guard=DealVersions())
    for number in range(30):
        await world.change(number % 4, number)
    relay, consumer = world.relay(), world.consumer(subscription=subscription)
    await settle(relay, consumer)
    await world.bus.append(await world.log())
    await settle(relay, consumer)
    assert await world.broken() == {"I5"}


async def test_lag_counts_what_is_not_applied_whoever_consumes(world: World) -> None:
    for number in range(9):
        await world.change(number, 1)
    await world.relay().step()
    async with world.kpi.transaction() as tx:
        assert sum((await lag(tx, world.bus, world.subscription())).values()) == 9
    consumer = world.consumer()
    await consumer.step(0)
    assert sum((await consumer.lag()).values()) == 0
    await world.change(1, 2)
    await world.relay().step()
    assert sum((await consumer.lag()).values()) == 1


@pytest.mark.parametrize("strange", ["pipeline.deal.sung.v1", ""])
async def test_types_of_a_newer_owner_are_skipped(world: World, strange: str) -> None:
    message = encode(deal_changed(deal_id(1), 1, 1, 0))
    unknown = replace(message, headers={**message.headers, "ce_type": strange})
    following = encode(deal_changed(deal_id(1), 2, 1, 1))
    outcome = await apply_messages(world.kpi, world.subscription(), [unknown, following])
    assert outcome.results == {(strange, "skipped"): 1, ("pipeline.deal.changed.v1", "applied"): 1}
