"""One member's reading position in the log in PostgreSQL."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from shared.bus.protocol import OffsetOutOfRange, Record, TopicPartition
from shared.db.engine import Database, Signal
from shared.db.statements import Statement
from shared.events.codec import Message
from shared.events.headers import read_headers

# Appends of this process wake the reader at once; those of other processes are looked for.
BUSY_POLL_SECONDS = 0.05
IDLE_POLL_SECONDS = 0.2
BUSY_FOR_SECONDS = 1.0

# One statement, so one snapshot: where the log of each partition begins and ends, and its records from `off` on.
# A partition without a record has one row all the same. Those that have something behind `off` share the limit.
_READ = Statement(
    """
    SELECT want.topic, want.part, want.off AS wanted, want.low_off, want.next_off,
           log.off, log.key, log.headers, log.value
    FROM (
        SELECT topic, part, off, low_off, next_off,
               CAST($4 AS int) / greatest(1, count(*) FILTER (WHERE off < next_off) OVER ()) AS share
        FROM unnest(CAST($1 AS text[]), CAST($2 AS int[]), CAST($3 AS bigint[])) AS n (topic, part, off)
        JOIN bus_partition USING (topic, part)
    ) AS want
    LEFT JOIN LATERAL (
        SELECT off, key, headers, value FROM bus_log
        WHERE bus_log.topic = want.topic AND bus_log.part = want.part AND bus_log.off >= want.off
          AND want.off < want.next_off
        ORDER BY bus_log.off LIMIT greatest(1, want.share)
    ) AS log ON true
    ORDER BY want.topic, want.part, log.off
    """
)


class PostgresReader:
    """Reads the assigned partitions with plain offset cursors, each partition getting its share of a poll."""

    def __init__(
        self, database: Database, topics: frozenset[str], on_close: Callable[["PostgresReader"], None]
    ) -> None:
        self.topics = topics
        self._database = database
        self._on_close = on_close
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._appended = Signal()
        self._busy_until = 0.0

    async def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self._positions = dict(positions)
        self._paused.clear()

    def seek(self, at: TopicPartition, offset: int) -> None:
        self._positions[at] = offset

    def pause(self, parts: Collection[TopicPartition]) -> None:
        self._paused.update(parts)

    def resume(self, parts: Collection[TopicPartition]) -> None:
        self._paused.difference_update(parts)

    def wake(self) -> None:
        self._appended.set()

    async def close(self) -> None:
        self._on_close(self)

    async def poll(self, limit: int, timeout: float) -> Sequence[Record]:
        """Return up to `limit` records; raises OffsetOutOfRange."""
        deadline = time.monotonic() + timeout
        while True:
            records = await self._read(limit)
            now = time.monotonic()
            if records:
                self._busy_until = now + BUSY_FOR_SECONDS
            if records or now >= deadline:
                return records
            pause = BUSY_POLL_SECONDS if now < self._busy_until else IDLE_POLL_SECONDS
            await self._appended.wait(min(pause, deadline - now))

    async def _read(self, limit: int) -> list[Record]:
        wanted = [(at, offset) for at, offset in self._positions.items() if at not in self._paused]
        if not wanted:
            return []
        topics = [at.topic for at, _ in wanted]
        parts = [at.partition for at, _ in wanted]
        offsets = [offset for _, offset in wanted]
        rows = await _READ.fetch_alone(self._database, topics, parts, offsets, limit)
        records: list[Record] = []
        for topic, part, position, low, end, offset, key, headers, value in rows:
            at = TopicPartition(topic, part)
            if not low <= position <= end:
                raise OffsetOutOfRange(at, position, low, end)
            if offset is not None:
                records.append(Record(at, offset, Message(topic, key, read_headers(headers), value)))
        return self._advance(records[:limit])

    def _advance(self, records: list[Record]) -> list[Record]:
        for record in records:
            wanted = self._positions[record.at]
            if record.offset != wanted:
                raise OffsetOutOfRange(record.at, wanted, record.offset, record.offset)
            self._positions[record.at] = wanted + 1
        return records
