"""One member's reading position in the log in Kafka."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from shared.bus.kafka import KafkaFetcher
from shared.bus.kafka_faults import KafkaUnavailable, OffsetGone
from shared.bus.protocol import OffsetOutOfRange, Record, TopicPartition
from shared.logging import get_logger

log = get_logger(__name__)

# What is in the log when a poll begins is found by it, even by one that may not wait: the way to the broker is free.
WAY_SECONDS = 3.0
# Records are there and none arrives: the client is stuck, as happens after a broker was restarted.
STUCK_SECONDS = 10.0


class KafkaReader:
    """Keeps its positions itself: the client behind it is thrown away after any fault and made anew from them."""

    def __init__(
        self,
        topics: frozenset[str],
        open_fetcher: Callable[[], Awaitable[KafkaFetcher]],
        on_close: Callable[["KafkaReader"], None],
    ) -> None:
        self.topics = topics
        self._open_fetcher = open_fetcher
        self._on_close = on_close
        self._fetcher: KafkaFetcher | None = None
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._moved_at = time.monotonic()

    async def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self._positions = dict(positions)
        self._paused.clear()
        self._moved_at = time.monotonic()
        if self._fetcher is not None:
            self._fetcher.assign(self._positions, self._paused)

    def seek(self, at: TopicPartition, offset: int) -> None:
        if at in self._positions and self._fetcher is not None:
            self._fetcher.seek(at, offset)
        if at in self._positions:
            self._positions[at] = offset

    def pause(self, parts: Collection[TopicPartition]) -> None:
        self._paused.update(parts)
        if self._fetcher is not None:
            self._fetcher.pause(self._positions.keys() & set(parts))

    def resume(self, parts: Collection[TopicPartition]) -> None:
        self._paused.difference_update(parts)
        if self._fetcher is not None:
            self._fetcher.resume(self._positions.keys() & set(parts))

    async def close(self) -> None:
        self._on_close(self)
        await self._let_go()

    async def poll(self, limit: int, timeout: float) -> Sequence[Record]:
        """Return up to `limit` records; raises OffsetOutOfRange, and KafkaUnavailable."""
        if not self._positions.keys() - self._paused:
            await asyncio.sleep(timeout)
            return []
        try:
            fetcher = await self._connected()
            return await self._read(fetcher, limit, timeout)
        except OffsetGone as gone:
            raise await self._out_of_range(gone) from gone
        except KafkaUnavailable:
            await self._let_go()
            raise
        except asyncio.CancelledError:
            # What the client had handed out by then is lost to us: its position is not ours any more.
            if self._fetcher is not None:
                self._fetcher.assign(self._positions, self._paused)
            raise

    async def _read(self, fetcher: KafkaFetcher, limit: int, timeout: float) -> list[Record]:
        records = self._advance(await fetcher.fetch(limit, timeout))
        if records or not await self._is_behind(fetcher):
            self._moved_at = time.monotonic()
            return records
        records = self._advance(await fetcher.fetch(limit, WAY_SECONDS))
        if records:
            self._moved_at = time.monotonic()
        elif time.monotonic() - self._moved_at > STUCK_SECONDS:
            self._moved_at = time.monotonic()
            raise KafkaUnavailable(f"records are there, but none came for {STUCK_SECONDS:g} s")
        return records

    async def _is_behind(self, fetcher: KafkaFetcher) -> bool:
        wanted = {at: offset for at, offset in self._positions.items() if at not in self._paused}
        ends = await fetcher.end_offsets(wanted)
        # One beyond the end is told by the next fetch, which must then take place.
        return any(ends[at] != offset for at, offset in wanted.items())

    def _advance(self, records: list[Record]) -> list[Record]:
        for record in records:
            wanted = self._positions[record.at]
            if record.offset != wanted:
                raise OffsetOutOfRange(record.at, wanted, record.offset, record.offset)
            self._positions[record.at] = wanted + 1
        return records

    async def _out_of_range(self, gone: OffsetGone) -> Exception:
        """Return what to raise: right after a change of leaders a broker may not know its own end yet."""
        fetcher = await self._connected()
        low = (await fetcher.low_offsets([gone.at]))[gone.at]
        end = (await fetcher.end_offsets([gone.at]))[gone.at]
        if low <= gone.wanted <= end:
            return KafkaUnavailable(f"{gone}, but it lies in [{low}, {end}]")
        return OffsetOutOfRange(gone.at, gone.wanted, low, end)

    async def _connected(self) -> KafkaFetcher:
        if self._fetcher is None:
            fetcher = await self._open_fetcher()
            fetcher.assign(self._positions, self._paused)
            self._fetcher = fetcher
        return self._fetcher

    async def _let_go(self) -> None:
        fetcher, self._fetcher = self._fetcher, None
        if fetcher is not None:
            await fetcher.end()
