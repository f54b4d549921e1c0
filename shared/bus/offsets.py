"""Where a group stands, kept in the service's database with a fencing epoch: offset and effects commit together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.bus.arrivals import Arrival
from shared.bus.protocol import Bus, TopicPartition
from shared.bus.subscription import Subscription
from shared.db.statements import Statement

_TAKE_OVER = text(
    """
    INSERT INTO consumer_offset AS o (grp, topic, part, bus_id, epoch, next_off)
    SELECT :grp, topic, part, bus_id, 1, 0
    FROM unnest(CAST(:topics AS text[]), CAST(:parts AS int[]), CAST(:bus_ids AS text[])) AS n (topic, part, bus_id)
    ORDER BY topic, part
    ON CONFLICT (grp, topic, part) DO UPDATE SET epoch = o.epoch + 1
    RETURNING topic, part, bus_id, epoch, next_off
    """
)
# A consumer that froze with its transaction open must not hold the rows for long against the one that takes over.
_LOCK = Statement(
    """
    SELECT topic, part, epoch, next_off, set_config('idle_in_transaction_session_timeout', '10s', true)
    FROM consumer_offset
    WHERE grp = $1
      AND (topic, part) IN (SELECT * FROM unnest(CAST($2 AS text[]), CAST($3 AS int[])))
    ORDER BY topic, part FOR NO KEY UPDATE
    """
)
_STORE = Statement(
    """
    UPDATE consumer_offset AS o SET next_off = n.next_off
    FROM unnest(CAST($2 AS text[]), CAST($3 AS int[]), CAST($4 AS bigint[])) AS n (topic, part, next_off)
    WHERE o.grp = $1 AND o.topic = n.topic AND o.part = n.part
    """
)
_RESTART = text(
    """
    UPDATE consumer_offset AS o SET next_off = n.next_off, bus_id = :bus_id
    FROM unnest(CAST(:topics AS text[]), CAST(:parts AS int[]), CAST(:offs AS bigint[])) AS n (topic, part, next_off)
    WHERE o.grp = :grp AND o.topic = n.topic AND o.part = n.part
    """
)
_STORED = text("SELECT topic, part, bus_id, next_off FROM consumer_offset WHERE grp = :grp")

NO_BUS = ""


class Fenced(Exception):  # noqa: N818 - the name of the fact
    """Another member has taken a partition over: nothing of this batch may be written."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A partition taken over: this member's epoch, and where (in which log) the group stands."""

    epoch: int
    bus_id: str
    next_off: int


async def take_over(
    tx: AsyncConnection, group: str, bus_id: str, low_offsets: Mapping[TopicPartition, int]
) -> dict[TopicPartition, Claim]:
    """Raise the epoch of the partitions, fencing off whoever worked on them before.

    A partition new to the group starts at 0; where the log no longer begins there, its log is NO_BUS: resync first.
    """
    parts = sorted(low_offsets)
    bus_ids = [NO_BUS if low_offsets[at] else bus_id for at in parts]
    rows = await tx.execute(_TAKE_OVER, {"grp": group, **_places(parts), "bus_ids": bus_ids})
    return {TopicPartition(row.topic, row.part): Claim(row.epoch, row.bus_id, row.next_off) for row in rows}


async def restart(tx: AsyncConnection, group: str, bus_id: str, positions: Mapping[TopicPartition, int]) -> None:
    """After a resync: go on from `positions` of the log `bus_id`."""
    columns = {**_places(list(positions)), "offs": [*positions.values()]}
    await tx.execute(_RESTART, {"grp": group, "bus_id": bus_id, **columns})


async def lag(tx: AsyncConnection, bus: Bus, subscription: Subscription) -> dict[TopicPartition, int]:
    """Return how many records of each partition the group has not applied, whoever consumes them."""
    parts = [TopicPartition(topic, part) for topic in subscription.topics for part in range(bus.partitions(topic))]
    ends = await bus.end_offsets(parts)
    rows = await tx.execute(_STORED, {"grp": subscription.group})
    stored = {TopicPartition(row.topic, row.part): row.next_off for row in rows if row.bus_id == bus.id}
    return {at: max(0, ends[at] - stored.get(at, 0)) for at in parts}


class Fence:
    """How each transaction of a consumer begins: the offset rows are locked, sorted, and the epochs are still mine.

    An epoch of None only locks: who replays a dead letter takes turns with the consumer, but fences nobody off.
    """

    def __init__(self, group: str, epochs: Mapping[TopicPartition, int | None]) -> None:
        self._group = group
        self._epochs = epochs

    async def enter(self, tx: AsyncConnection, arrivals: Sequence[Arrival]) -> Sequence[Arrival]:
        """Return those of `arrivals` that are still to be applied; raises Fenced."""
        await self._lock(tx)
        return arrivals

    async def leave(self, tx: AsyncConnection) -> None:
        """Store where the group now stands, as the last statement before the commit."""

    def without_records(self) -> "Fence":
        """Return the same fence for events that have no offset."""
        return Fence(self._group, self._epochs)

    async def _lock(self, tx: AsyncConnection) -> dict[TopicPartition, int]:
        if not self._epochs:
            return {}
        parts = sorted(self._epochs)
        rows = await _LOCK.fetch(tx, self._group, [at.topic for at in parts], [at.partition for at in parts])
        held = {TopicPartition(topic, part): (epoch, next_off) for topic, part, epoch, next_off, _ in rows}
        for at, mine in self._epochs.items():
            if mine is not None and (at not in held or held[at][0] != mine):
                raise Fenced(f"{self._group}: {at.topic}/{at.partition} has another owner")
        return {at: next_off for at, (_, next_off) in held.items()}


class BatchFence(Fence):
    """The fence of records from the log: only what continues without a hole where the group stands is applied."""

    def __init__(self, group: str, epochs: Mapping[TopicPartition, int]) -> None:
        super().__init__(group, epochs)
        self.next_offsets: dict[TopicPartition, int] = {}
        self.holes: set[TopicPartition] = set()

    async def enter(self, tx: AsyncConnection, arrivals: Sequence[Arrival]) -> Sequence[Arrival]:
        """Drop what was applied before, and everything of a partition whose first record is beyond the next one."""
        self.next_offsets = await self._lock(tx)
        begun: set[TopicPartition] = set()
        kept: list[Arrival] = []
        for arrival in arrivals:
            at, offset = arrival.record.at, arrival.record.offset
            if at not in begun and offset > self.next_offsets[at]:
                self.holes.add(at)
            begun.add(at)
            if at not in self.holes and offset >= self.next_offsets[at]:
                self.next_offsets[at] = offset + 1
                kept.append(arrival)
        return kept

    async def leave(self, tx: AsyncConnection) -> None:
        parts, offsets = [*self.next_offsets], [*self.next_offsets.values()]
        topics = [at.topic for at in parts]
        await _STORE.execute(tx, self._group, topics, [at.partition for at in parts], offsets)


def _places(parts: Sequence[TopicPartition]) -> dict[str, list[str] | list[int]]:
    return {"topics": [at.topic for at in parts], "parts": [at.partition for at in parts]}
