"""What only the log in PostgreSQL does: prepare itself, keep its identity, forget what is old."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from sqlalchemy import text

from shared.bus.postgres import EXPIRY_CHUNK, PostgresBus
from shared.bus.protocol import TopicPartition
from shared.db.engine import Database
from shared.events.catalogue import TOPICS, Topic, dead_topic
from shared.events.codec import Message, encode
from shared.events.pipeline import DEALS
from tests.faults.toy import deal_changed, deal_id

Open = Callable[..., PostgresBus]
ALL = [TopicPartition(DEALS, part) for part in range(4)]


@pytest.fixture
async def database(empty_database: Callable[[], str]) -> AsyncIterator[Database]:
    made = Database(empty_database(), "test")
    yield made
    await made.close()


@pytest.fixture
async def connect(database: Database) -> AsyncIterator[Open]:
    """Connect to the one log of the test, once more each time."""
    async with AsyncExitStack() as stack:

        def make(topics: Mapping[str, Topic] = TOPICS) -> PostgresBus:
            bus = PostgresBus(Database(database.url, "bus"), topics)
            stack.push_async_callback(bus.close)
            return bus

        yield make


async def test_many_may_prepare_at_once_and_the_identity_stays(connect: Open) -> None:
    buses = [connect() for _ in range(4)]
    with pytest.raises(RuntimeError):
        _ = buses[0].id
    await asyncio.gather(*(bus.prepare() for bus in buses))
    assert len({bus.id for bus in buses}) == 1
    assert sum(buses[0].partitions(topic) for topic in TOPICS) == sum(topic.partitions for topic in TOPICS.values())


async def test_preparing_again_adds_what_is_new_and_keeps_what_is_there(connect: Open) -> None:
    first = connect()
    await first.prepare()
    await first.append([encode(deal_changed(deal_id(1), 1, 1, 0))])
    second = connect({**TOPICS, "new.v1": Topic("new.v1", 2, "pipeline")})
    await second.prepare()
    await second.append([Message("new.v1", "k", {}, b"{}")])
    assert second.id == first.id
    assert sum((await second.end_offsets(ALL)).values()) == 1
    with pytest.raises(KeyError):
        await first.append([Message("unheard.v1", "k", {}, b"{}")])


async def test_what_is_older_than_two_weeks_goes_and_the_rest_stays(connect: Open, database: Database) -> None:
    bus = connect()
    await bus.prepare()
    await bus.append([encode(deal_changed(deal_id(number), 1, 1, 0)) for number in range(200)])
    assert await bus.expire() == 0
    async with database.transaction() as tx:
        await tx.execute(text("UPDATE bus_log SET ts = ts - interval '15 days' WHERE off < 10"))
        # A clock that was set back: what stands behind a young record is kept until that one goes.
        await tx.execute(text("UPDATE bus_log SET ts = ts - interval '15 days' WHERE off = 20"))
    assert await bus.expire() == 40
    assert await bus.low_offsets(ALL) == dict.fromkeys(ALL, 10)
    ends = await bus.end_offsets(ALL)
    assert await bus.expire(timedelta(0)) == 160
    assert await bus.low_offsets(ALL) == ends
    await bus.append([encode(deal_changed(deal_id(number), 2, 1, 0)) for number in range(200)])
    assert sum((await bus.end_offsets(ALL)).values()) == 400


async def test_each_topic_is_kept_as_long_as_the_catalogue_says(connect: Open, database: Database) -> None:
    new = {"new.v1": Topic("new.v1", 1, "pipeline")}
    dead = TopicPartition(dead_topic("kpi"), 0)
    newer, bus = connect({**TOPICS, **new}), connect()
    await newer.prepare()
    await bus.prepare()
    await newer.append([Message(topic, "k", {}, b"{}") for topic in (DEALS, dead.topic, "new.v1")])
    for days, expired in ((15, 1), (29 - 15, 0), (2, 1)):
        async with database.transaction() as tx:
            await tx.execute(text("UPDATE bus_log SET ts = ts - make_interval(days => :days)"), {"days": days})
        assert await bus.expire() == expired
    # Not known to this version: kept for the newer one, which knows how long.
    assert await newer.expire() == 1


async def test_retention_works_in_chunks(connect: Open, database: Database) -> None:
    bus = connect()
    await bus.prepare()
    many = 2 * EXPIRY_CHUNK + 7
    async with database.transaction() as tx:
        await tx.execute(
            text(
                """
                INSERT INTO bus_log SELECT :topic, 0, n, now() - interval '15 days', 'k', '{}', ''::bytea
                FROM generate_series(0, :many - 1) AS n
                """
            ),
            {"topic": DEALS, "many": many},
        )
        await tx.execute(
            text("UPDATE bus_partition SET next_off = :many WHERE topic = :t AND part = 0"), {"many": many, "t": DEALS}
        )
    assert await bus.expire() == many
    assert (await bus.low_offsets(ALL))[ALL[0]] == many
