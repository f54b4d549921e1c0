"""Beginning anew from the owner's export: for a new group, another log, or one that has forgotten our place."""

from collections.abc import AsyncIterator, Mapping, Sequence

from shared.bus.arrivals import arrive_all, without_place
from shared.bus.intake import Intake
from shared.bus.isolation import apply_batch
from shared.bus.offsets import Claim, Fence, restart
from shared.bus.partitioner import partition_of
from shared.bus.protocol import Bus, TopicPartition
from shared.db.engine import Database
from shared.db.faultpoints import faultpoint
from shared.events.codec import Message


async def find_stale(bus: Bus, claims: Mapping[TopicPartition, Claim]) -> set[TopicPartition]:
    """Return the partitions whose stored place says nothing about this log."""
    lows, ends = await bus.low_offsets(claims.keys()), await bus.end_offsets(claims.keys())
    return {at for at, claim in claims.items() if claim.bus_id != bus.id or not lows[at] <= claim.next_off <= ends[at]}


async def resync(
    database: Database,
    bus: Bus,
    intake: Intake,
    pages: AsyncIterator[Sequence[Message]],
    epochs: Mapping[TopicPartition, int],
) -> dict[TopicPartition, int]:
    """Load one topic's `pages` into the partitions of `epochs` and return the offsets to go on from.

    The end offsets are noted first: what the export does not have yet is committed later, so it is relayed behind them.
    Nothing is recorded before the last page, so dying on the way begins it anew; the guard drops what came twice.
    """
    ends = dict(await bus.end_offsets(epochs.keys()))
    fence = Fence(intake.group, epochs)
    async for page in pages:
        mine = [message for message in page if _place(bus, message) in epochs]
        await apply_batch(database, intake, await arrive_all(without_place(mine)), fence)
        faultpoint("resync.page")
    async with database.transaction() as tx:
        await fence.enter(tx, [])
        await restart(tx, intake.group, bus.id, ends)
    return ends


def _place(bus: Bus, message: Message) -> TopicPartition:
    return TopicPartition(message.topic, partition_of(message.key, bus.partitions(message.topic)))
