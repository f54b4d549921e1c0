"""Streams that have waited too long for a missing event get it from the service that owns them."""

from collections.abc import Mapping
from datetime import timedelta

from shared.bus.arrivals import arrive_all, without_place
from shared.bus.intake import Intake, Outcome
from shared.bus.isolation import apply_batch, drain_parked
from shared.bus.offsets import Fence
from shared.bus.partitioner import partition_of
from shared.bus.protocol import Bus, TopicPartition
from shared.bus.streams import WaitingStream, load_waiting, waiting_streams
from shared.bus.subscription import ExportUnavailable, OwnerExport
from shared.db.engine import Database
from shared.logging import get_logger

log = get_logger(__name__)

PATIENCE = timedelta(seconds=30)
STREAMS_AT_ONCE = 100


class Healer:
    """Closes the gaps of one group's streams."""

    def __init__(self, database: Database, intake: Intake, export: OwnerExport, bus: Bus) -> None:
        self._database = database
        self._intake = intake
        self._export = export
        self._bus = bus

    async def heal(self, epochs: Mapping[TopicPartition, int], patience: timedelta = PATIENCE) -> Outcome:
        """Close gaps older than `patience` in the partitions of `epochs`; raises as `apply_batch` does.

        An owner who cannot be asked now is asked in the next round.
        """
        outcome = Outcome()
        async with self._database.transaction() as tx:
            waiting = await waiting_streams(tx, self._intake.group, patience, STREAMS_AT_ONCE)
        for one in waiting:
            at = TopicPartition(one.topic, partition_of(one.key, self._bus.partitions(one.topic)))
            if at not in epochs:
                continue
            try:
                outcome.add(await self._heal_stream(one, Fence(self._intake.group, {at: epochs[at]})))
            except ExportUnavailable as error:
                log.warning("gap_not_healed", group=self._intake.group, stream=one.stream, error=str(error))
                break
        return outcome

    async def _heal_stream(self, waiting: WaitingStream, fence: Fence) -> Outcome:
        stream = waiting.stream
        # A death between an isolated event and what was parked behind it leaves nothing missing, only undone.
        outcome = await drain_parked(self._database, self._intake, stream, fence)
        async with self._database.transaction() as tx:
            current = (await self._intake.guard.lock(tx, [stream]))[stream]
            left = await load_waiting(tx, self._intake.group, [stream])
        if stream not in left.parked or current + 1 in left.dead.get(stream, ()):
            return outcome
        missing = await self._export.after(waiting.topic, stream, current)
        log.warning("gap_healed", group=self._intake.group, stream=stream, behind=current, found=len(missing))
        arrivals = await arrive_all(without_place(missing))
        outcome.add(await apply_batch(self._database, self._intake, arrivals, fence))
        return outcome
