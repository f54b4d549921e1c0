"""The Bus in PostgreSQL, database `bus`: dense offsets under locked counter rows, readers woken in process.

A plain offset cursor is safe here and only here: the counter row's lock is held until the commit, so offsets become
visible in their order.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from itertools import accumulate

from sqlalchemy import text

from shared.bus.partitioner import partition_of
from shared.bus.postgres_reader import PostgresReader
from shared.bus.postgres_tables import metadata
from shared.bus.protocol import TopicPartition
from shared.db.engine import Database
from shared.db.faultpoints import faultpoint
from shared.db.statements import Statement
from shared.events.catalogue import TOPICS, Topic
from shared.events.codec import Message
from shared.events.headers import headers_text

EXPIRY_CHUNK = 5000

_PREPARE_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('salesgrain bus'))")
_MAKE_ID = text("INSERT INTO bus_identity (id) VALUES (gen_random_uuid()) ON CONFLICT DO NOTHING")
_MAKE_PARTITIONS = text(
    """
    INSERT INTO bus_partition (topic, part)
    SELECT * FROM unnest(CAST(:topics AS text[]), CAST(:parts AS int[])) ON CONFLICT DO NOTHING
    """
)
# One statement, so one round trip and its own transaction. The counters are locked in order before they are moved, and
# stay locked until the records are committed.
_APPEND = Statement(
    """
    WITH locked AS (
        SELECT p.topic, p.part, n.begin_at, n.end_at
        FROM unnest(CAST($1 AS text[]), CAST($2 AS int[]), CAST($3 AS int[]), CAST($4 AS int[]))
             AS n (topic, part, begin_at, end_at)
        JOIN bus_partition AS p USING (topic, part)
        ORDER BY p.topic, p.part FOR NO KEY UPDATE OF p
    ), moved AS (
        UPDATE bus_partition AS p SET next_off = p.next_off + end_at - begin_at
        FROM locked WHERE p.topic = locked.topic AND p.part = locked.part
        RETURNING p.topic, p.part, p.next_off - end_at AS offset_of_place_0, begin_at, end_at
    )
    INSERT INTO bus_log (topic, part, off, key, headers, value)
    SELECT topic, part, offset_of_place_0 + place, key, headers, value
    FROM moved
    JOIN unnest(CAST($5 AS text[]), CAST($6 AS text[]), CAST($7 AS bytea[]))
         WITH ORDINALITY AS m (key, headers, value, place) ON place >= begin_at AND place < end_at
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

    @property
    def topics(self) -> Collection[str]:
        return self._topics.keys()

    def partitions(self, topic: str) -> int:
        return self._topics[topic].partitions

    async def append(self, messages: Sequence[Message]) -> None:
        """Append all `messages` at once, or none of them; raises KeyError for an unknown topic."""
        if not messages:
            return
        by_partition: dict[TopicPartition, list[Message]] = defaultdict(list)
        for message in messages:
            part = partition_of(message.key, self.partitions(message.topic))
            by_partition[TopicPartition(message.topic, part)].append(message)
        faultpoint("bus.append")
        appended = await _APPEND.execute_alone(self._database, *_columns(by_partition))
        faultpoint("bus.appended")
        self._wake({at.topic for at in by_partition})
        if appended != len(messages):
            fault = f"{appended} of {len(messages)} records were appended: a partition is not prepared"
            raise RuntimeError(fault)

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

    def tell(self, group: str, positions: Mapping[TopicPartition, int]) -> None:
        """There is nobody to show it to: this log has no tools but ours, which read the consumers' own offsets."""

    async def expire(self, kept: timedelta | None = None) -> int:
        """Delete what is older than its topic's retention (or `kept`), in short transactions; returns how many records.

        A topic that this version does not know is left to the one that does, and to how long that one keeps it.
        """
        deleted = 0
        for at in await self._ranges():
            if (topic := self._topics.get(at.topic)) is None:
                continue
            while chunk := await self._expire_chunk(at, topic.retention if kept is None else kept):
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


def _columns(
    by_partition: Mapping[TopicPartition, Sequence[Message]],
) -> tuple[list[str] | list[int] | list[bytes], ...]:
    """Return topics, parts, where (counted from 1) each begins and ends, and in that order keys, headers, values."""
    messages = [message for some in by_partition.values() for message in some]
    bounds = [*accumulate(map(len, by_partition.values()), initial=1)]
    return (
        [at.topic for at in by_partition],
        [at.partition for at in by_partition],
        bounds[:-1],
        bounds[1:],
        [message.key for message in messages],
        [headers_text(message.headers) for message in messages],
        [message.value for message in messages],
    )
