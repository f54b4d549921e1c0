"""One member's reading position in the log in PostgreSQL."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.bus.protocol import OffsetOutOfRange, Record, TopicPartition
from shared.db.engine import Database, Signal
from shared.events.codec import Message
from shared.events.headers import read_headers

# Appends of this process wake the reader at once; those of other processes are looked for.
BUSY_POLL_SECONDS = 0.05
IDLE_POLL_SECONDS = 0.2
BUSY_FOR_SECONDS = 1.0

_RANGES = text("SELECT topic, part, low_off, next_off FROM bus_partition WHERE topic = ANY(:topics)")
_RECORDS = text(
    """
    SELECT log.topic, log.part, log.off, log.key, log.headers, log.value
    FROM unnest(CAST(:topics AS text[]), CAST(:parts AS int[]), CAST(:offs AS bigint[])) AS want (topic, part, off)
    CROSS JOIN LATERAL (
        SELECT * FROM bus_log
        WHERE bus_log.topic = want.topic AND bus_log.part = want.part AND bus_log.off >= want.off
        ORDER BY bus_log.off LIMIT :share
    ) AS log
    ORDER BY log.topic, log.part, log.off
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
        if not self._positions.keys() - self._paused:
            return []
        async with self._database.autocommit() as connection:
            waiting = await self._waiting(connection)
            if not waiting:
                return []
            rows = await connection.execute(
                _RECORDS,
                {
                    "topics": [at.topic for at in waiting],
                    "parts": [at.partition for at in waiting],
                    "offs": [self._positions[at] for at in waiting],
                    "share": max(1, limit // len(waiting)),
                },
            )
            records = [
                Record(TopicPartition(topic, part), offset, Message(topic, key, read_headers(headers), value))
                for topic, part, offset, key, headers, value in rows.all()
            ]
        return self._advance(records[:limit])

    async def _waiting(self, connection: AsyncConnection) -> list[TopicPartition]:
        """Return the partitions that have something behind their position."""
        found = []
        for row in (await connection.execute(_RANGES, {"topics": list(self.topics)})).all():
            at = TopicPartition(row.topic, row.part)
            position = self._positions.get(at)
            if position is None or at in self._paused:
                continue
            if not row.low_off <= position <= row.next_off:
                raise OffsetOutOfRange(at, position, row.low_off, row.next_off)
            if position < row.next_off:
                found.append(at)
        return found

    def _advance(self, records: list[Record]) -> list[Record]:
        for record in records:
            wanted = self._positions[record.at]
            # Offsets are dense: a hole means that the oldest records expired between the two statements.
            if record.offset != wanted:
                raise OffsetOutOfRange(record.at, wanted, record.offset, record.offset)
            self._positions[record.at] = wanted + 1
        return records
