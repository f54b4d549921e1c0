"""The outbox: rows numbered in the order of their stream, visible exactly when the change is, whoever writes beside."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from shared.db.engine import Database
from shared.db.outbox import announce, outbox_columns
from shared.db.platform import new_metadata
from shared.events.codec import LARGEST_VALUE, Message, MessageTooLarge, decode
from shared.events.pipeline import CustomerChanged
from shared.tracing import caused_by, new_cause

MOMENT = datetime(2026, 1, 5, tzinfo=UTC)


def changed(number: int, version: int, segment: str | None = None) -> CustomerChanged:
    return CustomerChanged(
        version=version, recorded_at=MOMENT, occurred_at=MOMENT, customer_id=UUID(int=number), lifecycle="lead",
        lifecycle_before="lead", segment=segment,
    )  # fmt: skip


@pytest.fixture
async def database(empty_database: Callable[[], str]) -> AsyncIterator[Database]:
    made = Database(empty_database(), "pipeline", pool_size=20)
    async with made.transaction() as tx:
        await tx.run_sync(new_metadata().create_all)
        await tx.execute(text("CREATE TABLE stream (number int PRIMARY KEY, version int NOT NULL)"))
        await tx.execute(text("INSERT INTO stream SELECT n, 0 FROM generate_series(0, 7) AS n"))
    yield made
    await made.close()


async def messages(database: Database) -> list[Message]:
    async with database.transaction() as tx:
        rows = await tx.execute(text("SELECT *, headers::text AS head FROM outbox ORDER BY id"))
        return [
            Message(row.topic, row.key, msgspec.json.decode(row.head, type=dict[str, str]), row.value) for row in rows
        ]


async def announce_and_fail(database: Database) -> None:
    async with database.transaction() as tx:
        await announce(tx, [changed(1, 1)])
        raise ZeroDivisionError


async def test_events_are_written_with_their_change_or_not_at_all(database: Database) -> None:
    with caused_by(new_cause("a request")):
        async with database.transaction() as tx:
            await announce(tx, [changed(1, 1)])
            assert await messages(database) == []
    (message,) = await messages(database)
    assert decode(message) == changed(1, 1)
    assert message.headers["ce_correlationid"] == "a request"

    with pytest.raises(ZeroDivisionError):
        await announce_and_fail(database)
    assert len(await messages(database)) == 1


async def test_only_a_commit_wakes_the_relay(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute(text("SELECT 1"))
    with pytest.raises(ZeroDivisionError):
        await announce_and_fail(database)
    async with database.transaction() as tx:
        await announce(tx, [])
    assert not await database.outbox_written.wait(0)
    async with database.transaction() as tx:
        await announce(tx, [changed(1, 1)])
        assert not await database.outbox_written.wait(0)
    assert await database.outbox_written.wait(0)
    assert not await database.outbox_written.wait(0)


@settings(deadline=None, max_examples=20)
@given(st.permutations([(number, version) for number in range(4) for version in range(1, 9)]))
def test_columns_keep_the_order_given(order: list[tuple[int, int]]) -> None:
    _, keys, _, values = outbox_columns([Message("t", str(number), {}, bytes([version])) for number, version in order])
    assert list(zip(keys, values, strict=True)) == [(str(n), bytes([v])) for n, v in order]


async def test_whatever_order_they_are_announced_in_ids_follow_the_versions(database: Database) -> None:
    events = [changed(number, version) for version in range(40, 0, -1) for number in (3, 1, 2)]
    async with database.transaction() as tx:
        await announce(tx, events)
    versions: defaultdict[str, list[int]] = defaultdict(list)
    for message in await messages(database):
        versions[message.key].append(int(message.headers["ce_sequence"]))
    assert all(found == [*range(1, 41)] for found in versions.values())
    assert len(versions) == 3


async def test_many_writers_number_each_stream_in_its_order(database: Database) -> None:
    """Sequence and commit order differ between streams, never within one: its lock is held while the id is drawn."""

    async def write(worker: int) -> None:
        for step in range(25):
            number = (worker + step * 3) % 8
            async with database.transaction() as tx:
                if worker % 3 == 0:
                    await tx.execute(text("SELECT txid_current()"))
                raise_version = text("UPDATE stream SET version = version + 1 WHERE number = :n RETURNING version")
                version = (await tx.execute(raise_version, {"n": number})).scalar_one()
                await announce(tx, [changed(number, version)])
                if step % 5 == 0:
                    await asyncio.sleep(0.002)

    await asyncio.gather(*(write(worker) for worker in range(8)))
    versions: defaultdict[str, list[int]] = defaultdict(list)
    for message in await messages(database):
        versions[message.key].append(int(message.headers["ce_sequence"]))
    assert sum(map(len, versions.values())) == 200
    assert all(found == [*range(1, len(found) + 1)] for found in versions.values())


async def test_an_event_too_large_for_any_bus_refuses_the_change(database: Database) -> None:
    async with database.transaction() as tx:
        await announce(tx, [changed(1, 1, "x" * (LARGEST_VALUE - 1000))])

    async def change() -> None:
        async with database.transaction() as tx:
            await tx.execute(text("UPDATE stream SET version = 99"))
            await announce(tx, [changed(1, 2), changed(2, 1, "x" * LARGEST_VALUE)])

    with pytest.raises(MessageTooLarge):
        await change()
    assert len(await messages(database)) == 1
    async with database.transaction() as tx:
        assert (await tx.execute(text("SELECT max(version) FROM stream"))).scalar_one() == 0
