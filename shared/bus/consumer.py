"""The consumer: one transaction per poll over all its partitions, each event's effect exactly once.

It owns partitions by session lock, fences with an epoch in the service's own database, and stores offsets together with
effects. What fails because of the surroundings is tried again for ever; what fails because of one event is isolated.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

from shared.bus.arrivals import arrive_all, without_place
from shared.bus.backoff import Backoff
from shared.bus.healing import Healer
from shared.bus.intake import Intake, Outcome
from shared.bus.isolation import apply_batch
from shared.bus.offsets import BatchFence, Fence, Fenced, take_over
from shared.bus.ownership import Ownership
from shared.bus.protocol import Bus, BusReader, OffsetOutOfRange, Record, TopicPartition
from shared.bus.resync import find_stale, resync
from shared.bus.streams import parked_streams
from shared.bus.subscription import ExportUnavailable, OwnerExport, Subscription
from shared.db.engine import Database
from shared.db.errors import is_infrastructure
from shared.db.faultpoints import faultpoint
from shared.db.session_locks import LocksLost
from shared.events.codec import Message
from shared.logging import get_logger
from shared.metrics import CONSUMER_LAG, CONSUMER_PARKED

log = get_logger(__name__)

LARGEST_BATCH = 500
POLL_SECONDS = 1.0
FULL_BATCH = 100
# After a small batch: what comes meanwhile is applied together, which costs hardly more, and HTTP shares the loop.
GATHER_SECONDS = 0.02
LOOK_AFTER_SECONDS = 5.0

__all__ = ["Consumer", "apply_messages", "parked_streams"]


class Consumer:
    """One member of a group: consumes its fair share of the subscription's partitions."""

    def __init__(self, database: Database, bus: Bus, subscription: Subscription, export: OwnerExport) -> None:
        self._database = database
        self._bus = bus
        self._subscription = subscription
        self.group = self._group = subscription.group
        self._export = export
        self._intake = Intake(subscription)
        self._parts = {
            f"{topic}/{part}": TopicPartition(topic, part)
            for topic in subscription.topics
            for part in range(bus.partitions(topic))
        }
        self._ownership = Ownership(database, f"consumer:{self._group}", [*self._parts])
        self._healer = Healer(database, self._intake, export, bus)
        self._reader: BusReader = bus.reader(subscription.topics)
        self._epochs: dict[TopicPartition, int] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._look_after_at = 0.0
        self._resync_at = 0.0

    async def run(self) -> None:
        """Consume until cancelled."""
        backoff = Backoff()
        try:
            while True:
                try:
                    polled = await self.step()
                    backoff.reset()
                    await self._make_room(polled)
                except Exception as error:  # noqa: BLE001 - see below
                    # The boundary of the consumer: whatever happened, nothing uncommitted was passed over.
                    level = "warning" if is_infrastructure(error) or isinstance(error, Fenced) else "exception"
                    getattr(log, level)("consumer_interrupted", group=self._group, error=repr(error))
                    await backoff.wait()
        finally:
            await self.close()

    async def _make_room(self, polled: int) -> None:
        if 0 < polled < FULL_BATCH:
            await asyncio.sleep(GATHER_SECONDS)

    async def step(self, timeout: float = POLL_SECONDS) -> int:
        """Keep ownership, poll once, apply: one turn of `run`. Returns the number of records polled.

        Raises what interrupts it; the next step then begins where the last commit stands.
        """
        try:
            await self._keep_ownership()
            await self._resync()
            records = await self._poll(timeout)
            if records:
                await self._consume(records)
            await self._look_after()
        except (LocksLost, Fenced):
            await self.close()
            raise
        except Exception:
            self._seek_back()
            raise
        return len(records)

    async def _poll(self, timeout: float) -> Sequence[Record]:
        try:
            return await self._reader.poll(LARGEST_BATCH, timeout)
        except OffsetOutOfRange as gone:
            log.warning("offset_out_of_range", group=self._group, error=str(gone))
            self._positions.pop(gone.at, None)
            self._resync_at = 0.0
            await self._reader.assign(self._positions)
            return []

    async def _consume(self, records: Sequence[Record]) -> None:
        faultpoint("consumer.fetched")
        # Captured with the fetch: a partition lost and taken again in between has another epoch.
        fence = self._fence({record.at for record in records})
        outcome = await apply_batch(self._database, self._intake, await arrive_all(records), fence)
        self._positions.update(fence.next_offsets)
        for at in fence.holes:
            self._reader.seek(at, self._positions[at])
        self._tell(outcome)

    def _fence(self, parts: Collection[TopicPartition]) -> BatchFence:
        return BatchFence(self._group, {at: self._epochs[at] for at in parts})

    def _tell(self, outcome: Outcome) -> None:
        if outcome.applied and self._subscription.committed is not None:
            self._subscription.committed.set()

    def _seek_back(self) -> None:
        for at, offset in self._positions.items():
            self._reader.seek(at, offset)

    async def _keep_ownership(self) -> None:
        owned = {self._parts[name] for name in await self._ownership.refresh()}
        if owned == self._epochs.keys():
            return
        for at in self._epochs.keys() - owned:
            del self._epochs[at]
            self._positions.pop(at, None)
            CONSUMER_LAG.labels(self._group, at.topic, at.partition).set(0)
        # Before anything that may fail: what is not owned any more must not be read any more.
        await self._reader.assign(self._positions)
        await self._take_over(owned - self._epochs.keys())
        await self._reader.assign(self._positions)
        log.info("partitions_owned", group=self._group, partitions=len(owned))

    async def _take_over(self, parts: Collection[TopicPartition]) -> None:
        if not parts:
            return
        lows = await self._bus.low_offsets(parts)
        async with self._database.transaction() as tx:
            claims = await take_over(tx, self._group, self._bus.id, lows)
        faultpoint("consumer.taken_over")
        stale = await find_stale(self._bus, claims)
        self._epochs.update({at: claim.epoch for at, claim in claims.items()})
        self._positions.update({at: claim.next_off for at, claim in claims.items() if at not in stale})
        self._resync_at = 0.0

    async def _resync(self) -> None:
        """Begin anew from the owners' exports where a partition has no position in this log.

        The other partitions go on, also while an owner cannot be reached.
        """
        lost = self._epochs.keys() - self._positions.keys()
        if not lost or time.monotonic() < self._resync_at:
            return
        for topic in sorted({at.topic for at in lost}):
            mine = {at: self._epochs[at] for at in lost if at.topic == topic}
            log.warning("resync", group=self._group, topic=topic, partitions=len(mine))
            try:
                self._positions.update(await resync(self._database, self._bus, self._intake, self._pages(topic), mine))
            except ExportUnavailable as error:
                log.warning("resync_postponed", group=self._group, topic=topic, error=str(error))
                self._resync_at = time.monotonic() + LOOK_AFTER_SECONDS
        await self._reader.assign(self._positions)
        if self._subscription.committed is not None:
            self._subscription.committed.set()

    async def _pages(self, topic: str) -> AsyncIterator[Sequence[Message]]:
        async for page in self._export.pages(topic):
            yield page
            await self._ownership.refresh()

    async def _look_after(self) -> None:
        """Every few seconds: heal streams with old gaps, show how far we are, and measure."""
        if time.monotonic() < self._look_after_at:
            return
        self._look_after_at = time.monotonic() + LOOK_AFTER_SECONDS
        self._bus.tell(self._group, dict(self._positions))
        self._tell(await self._healer.heal(self._epochs))
        for at, records in (await self.lag()).items():
            CONSUMER_LAG.labels(self._group, at.topic, at.partition).set(records)
        async with self._database.transaction() as tx:
            CONSUMER_PARKED.labels(self._group).set(await parked_streams(tx, self._group))

    async def lag(self) -> Mapping[TopicPartition, int]:
        """Return how many records of each owned partition are not applied yet."""
        # Ownership may change while the log is asked.
        positions = dict(self._positions)
        ends = await self._bus.end_offsets(positions.keys())
        return {at: max(0, ends[at] - position) for at, position in positions.items()}

    def waits_for(self) -> str | None:
        """Return why this member does not consume its share yet; None when it does, also when its share is nothing."""
        if not self._ownership.joined:
            return "has not joined its group yet"
        if self._epochs.keys() != {self._parts[name] for name in self._ownership.owned}:
            return "takes its partitions over"
        lost = sorted({at.topic for at in self._epochs.keys() - self._positions.keys()})
        return f"waits for the owner's export of {', '.join(lost)}" if lost else None

    async def close(self) -> None:
        """Own nothing any more; a following `step` begins anew."""
        self._positions.clear()
        self._epochs.clear()
        await self._reader.assign({})
        await self._ownership.close()


async def apply_messages(database: Database, subscription: Subscription, messages: Sequence[Message]) -> Outcome:
    """Apply `messages` as the consumer does (guard, parking, one transaction, isolation), without a log."""
    arrivals = await arrive_all(without_place(messages))
    outcome = await apply_batch(database, Intake(subscription), arrivals, Fence(subscription.group, {}))
    if outcome.applied and subscription.committed is not None:
        subscription.committed.set()
    return outcome
