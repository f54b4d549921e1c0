"""The Bus in PostgreSQL, database `bus`: dense offsets under locked counter rows, readers woken in process.

A plain offset cursor is safe here and only here: the counter row's lock is held until the commit, so offsets become
visible in their order.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.bus.partitioner import partition_of
from shared.bus.postgres_reader import PostgresReader
from shared.bus.postgres_tables import metadata
from shared.bus.protocol import TopicPartition
from shared.db.engine import Database
from shared.events.catalogue import TOPICS, Topic
from shared.events.codec import Message

RETENTION = timedelta(days=14)
EXPIRY_CHUNK = 5000

_PREPARE_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('salesgrain bus'))")
_MAKE_ID = text("INSERT INTO bus_identity (id) VALUES (gen_random_uuid()) ON CONFLICT DO NOTHING")
_MAKE_PARTITIONS = text(
    """
    INSERT INTO bus_partition (topic, part)
    SELECT * FROM unnest(CAST(:topics AS text[]), CAST(:parts AS int[])) ON CONFLICT DO NOTHING
    """
)
_LOCK = text(
    """
    SELECT topic, part, next_off FROM bus_partition
    WHERE (topic, part) IN (SELECT * FROM unnest(CAST(:topics AS text[]), CAST(:parts AS int[])))
    ORDER BY topic, part FOR NO KEY UPDATE
    """
)
_APPEND = text(
    """
    WITH moved AS (
        UPDATE bus_partition AS p SET next_off = n.next_off
        FROM unnest(CAST(:next_topics AS text[]), CAST(:next_parts AS int[]), CAST(:next_offs AS bigint[]))
             AS n (topic, part, next_off)
        WHERE p.topic = n.topic AND p.part = n.part
    )
    INSERT INTO bus_log (topic, part, off, key, headers, value)
    SELECT topic, part, off, key, headers::jsonb, value
    FROM unnest(CAST(:topics AS text[]), CAST(:parts AS int[]), CAST(:offs AS bigint[]), CAST(:keys AS text[]),
                CAST(:headers AS text[]), CAST(:values AS bytea[])) AS m (topic, part, off, key, headers, value)
    """
)
_RANGES = text("SELECT topic, part, low_off, next_off FROM bus_partition")
_FIRST_KEPT = text(
    """
    SELECT coalesce(
        min(off) FILTER (WHERE ts >= clock_timestamp() - make_interval(secs => :kept_seconds)), max(off) + 1
    )
    FROM (SELECT off, ts FROM bus_log WHERE topic = :topic AND part = :part ORDER BY off LIMIT :chunk) AS oldest
    """
)
_RAISE_LOW = text("UPDATE bus_partition SET low_off = greatest(low_off, :low) WHERE topic = :topic AND part = :part")
_EXPIRE = text("DELETE FROM bus_log WHERE topic = :topic AND part = :part AND off < :low")


class PostgresBus:
    """A log shared by all who connect to its database. It owns `database`: `close` closes that too."""

    def __init__(self, database: Database, topics: Mapping[str, Topic] = TOPICS) -> None:
        self._database = database
        self._topics = topics
        self._id: str | None = None
        self._readers: set[PostgresReader] = set()

    @property
    def id(self) -> str:
        if self._id is None:
            message = "prepare() comes before any use of the log"
            raise RuntimeError(message)
        return self._id

    async def prepare(self) -> None:
        """Make tables, partitions and the log's id where they are missing; many processes may do it at once."""
        async with self._database.transaction() as tx:
            await tx.execute(_PREPARE_LOCK)
            await tx.run_sync(metadata.create_all)
            await tx.execute(_MAKE_ID)
            every = [(topic.name, part) for topic in self._topics.values() for part in range(topic.partitions)]
            await tx.execute(_MAKE_PARTITIONS, {"topics": [t for t, _ in every], "parts": [p for _, p in every]})
            self._id = str((await tx.execute(text("SELECT id FROM bus_identity"))).scalar_one())

    def partitions(self, topic: str) -> int:
        return self._topics[topic].partitions

    async def append(self, messages: Sequence[Message]) -> None:
        """Append all `messages` in one transaction; raises KeyError for an unknown topic."""
        if not messages:
            return
        by_partition: dict[TopicPartition, list[Message]] = defaultdict(list)
        for message in messages:
            part = partition_of(message.key, self.partitions(message.topic))
            by_partition[TopicPartition(message.topic, part)].append(message)
        async with self._database.transaction() as tx:
            await _append(tx, by_partition)
        self._wake({at.topic for at in by_partition})

    def _wake(self, topics: Collection[str]) -> None:
        for reader in self._readers:
            if not reader.topics.isdisjoint(topics):
                reader.wake()

    def reader(self, topics: Collection[str]) -> PostgresReader:
        reader = PostgresReader(self._database, frozenset(topics), self._readers.discard)
        self._readers.add(reader)
        return reader

    async def low_offsets(self, parts: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {at: low for at, (low, _) in (await self._ranges()).items() if at in parts}

    async def end_offsets(self, parts: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {at: end for at, (_, end) in (await self._ranges()).items() if at in parts}

    async def _ranges(self) -> dict[TopicPartition, tuple[int, int]]:
        async with self._database.autocommit() as connection:
            rows = await connection.execute(_RANGES)
            return {TopicPartition(row.topic, row.part): (row.low_off, row.next_off) for row in rows}

    async def expire(self, kept: timedelta = RETENTION) -> int:
        """Delete what is older than `kept`, in short transactions; returns the number of records deleted."""
        deleted = 0
        for at in await self._ranges():
            while chunk := await self._expire_chunk(at, kept):
                deleted += chunk
                await asyncio.sleep(0)
        return deleted

    async def _expire_chunk(self, at: TopicPartition, kept: timedelta) -> int:
        place = {"topic": at.topic, "part": at.partition}
        async with self._database.transaction() as tx:
            bounds = {**place, "chunk": EXPIRY_CHUNK, "kept_seconds": kept.total_seconds()}
            low = (await tx.execute(_FIRST_KEPT, bounds)).scalar()
            if low is None:
                return 0
            await tx.execute(_RAISE_LOW, {**place, "low": low})
            return (await tx.execute(_EXPIRE, {**place, "low": low})).rowcount

    async def close(self) -> None:
        await self._database.close()


async def _append(tx: AsyncConnection, by_partition: Mapping[TopicPartition, Sequence[Message]]) -> None:
    parts = sorted(by_partition)
    locked = await tx.execute(_LOCK, {"topics": [at.topic for at in parts], "parts": [at.partition for at in parts]})
    first = {TopicPartition(row.topic, row.part): row.next_off for row in locked}
    placed = [(at, offset, message) for at in parts for offset, message in enumerate(by_partition[at], start=first[at])]
    await tx.execute(
        _APPEND,
        {
            "next_topics": [at.topic for at in parts],
            "next_parts": [at.partition for at in parts],
            "next_offs": [first[at] + len(by_partition[at]) for at in parts],
            "topics": [at.topic for at, _, _ in placed],
            "parts": [at.partition for at, _, _ in placed],
            "offs": [offset for _, offset, _ in placed],
            "keys": [message.key for _, _, message in placed],
            "headers": [msgspec.json.encode(message.headers).decode() for _, _, message in placed],
            "values": [message.value for _, _, message in placed],
        },
    )
