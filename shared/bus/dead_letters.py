"""What an operator does with dead letters: look at them, and try them again once their cause is mended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.bus.arrivals import Arrival, arrive
from shared.bus.dead_letter_rows import DeadLetter
from shared.bus.intake import Intake
from shared.bus.isolation import drain_parked
from shared.bus.offsets import Fence
from shared.bus.partitioner import partition_of
from shared.bus.protocol import Record, TopicPartition
from shared.bus.subscription import Subscription
from shared.db.engine import Database
from shared.db.errors import is_infrastructure
from shared.events.catalogue import TOPICS

KEPT = timedelta(days=30)

_LIST = text(
    """
    SELECT *, headers::text AS headers_text FROM dead_letter
    WHERE (CAST(:grp AS text) IS NULL OR grp = :grp)
      AND (CAST(:after AS uuid) IS NULL
           OR (failed_at, id) < (SELECT failed_at, id FROM dead_letter WHERE id = CAST(:after AS uuid)))
    ORDER BY failed_at DESC, id DESC LIMIT :limit
    """
)
_SHOW = text("SELECT *, headers::text AS headers_text FROM dead_letter WHERE id = :id")
_LOCK = text("SELECT replayed_at FROM dead_letter WHERE id = :id FOR UPDATE")
_MARK_REPLAYED = text("UPDATE dead_letter SET replayed_at = clock_timestamp() WHERE id = :id")
_MARK_FAILED = text("UPDATE dead_letter SET error = :error, failed_at = clock_timestamp() WHERE id = :id")
_EXPIRE = text("DELETE FROM dead_letter WHERE failed_at < clock_timestamp() - make_interval(secs => :kept_seconds)")


class UnknownDeadLetter(LookupError):  # noqa: N818 - the name of the fact
    """There is no such dead letter, or no subscription of its group here."""


@dataclass(frozen=True, slots=True)
class Replay:
    """How trying again ended: applied, had been applied already, must wait for an earlier event, or failed again."""

    result: Literal["applied", "duplicate", "waiting", "failed"]
    error: str | None = None


async def list_dead_letters(
    tx: AsyncConnection, group: str | None, limit: int, after: UUID | None = None
) -> Sequence[DeadLetter]:
    """Return up to `limit` dead letters, the latest first, behind the one with the id `after`."""
    rows = await tx.execute(_LIST, {"grp": group, "limit": limit, "after": after})
    return [DeadLetter.from_row(row) for row in rows]


async def show(tx: AsyncConnection, letter_id: UUID) -> DeadLetter | None:
    """Return one dead letter with its whole message."""
    row = (await tx.execute(_SHOW, {"id": letter_id})).one_or_none()
    return None if row is None else DeadLetter.from_row(row)


async def replay(database: Database, subscriptions: Sequence[Subscription], letter_id: UUID) -> Replay:
    """Run the use case of a dead letter again, and then what was parked behind it; raises UnknownDeadLetter.

    When it fails again, the dead letter stays as it is, with the new error.
    """
    async with database.transaction() as tx:
        letter = await show(tx, letter_id)
    subscription = next((one for one in subscriptions if letter is not None and one.group == letter.group), None)
    if letter is None or subscription is None:
        raise UnknownDeadLetter(str(letter_id))
    intake = Intake(subscription)
    arrival = arrive(Record(TopicPartition(letter.message.topic, letter.partition), letter.offset, letter.message))
    fence = _fence(letter)
    try:
        done = await _try_again(database, intake, letter, arrival, fence)
    except Exception as error:
        if is_infrastructure(error):
            raise
        return await _failed_again(database, letter, f"{type(error).__name__}: {error}")
    if arrival.stream is not None:
        await drain_parked(database, intake, arrival.stream, fence)
    if subscription.committed is not None:
        subscription.committed.set()
    return done


async def _try_again(database: Database, intake: Intake, letter: DeadLetter, arrival: Arrival, fence: Fence) -> Replay:
    if arrival.fault is not None:
        raise arrival.fault
    async with database.transaction() as tx:
        arrivals = await fence.enter(tx, [arrival])
        if (await tx.execute(_LOCK, {"id": letter.id})).scalar() is not None:
            return Replay("duplicate")
        outcome = await intake.apply(tx, arrivals, drain=False)
        if outcome.count("parked"):
            return Replay("waiting")
        await tx.execute(_MARK_REPLAYED, {"id": letter.id})
    return Replay("duplicate" if outcome.count("duplicate") else "applied")


async def _failed_again(database: Database, letter: DeadLetter, error: str) -> Replay:
    async with database.transaction() as tx:
        await tx.execute(_MARK_FAILED, {"id": letter.id, "error": error.replace("\x00", "")})
    return Replay("failed", error)


def _fence(letter: DeadLetter) -> Fence:
    """Takes turns with the consumer of the partition that the event belongs to."""
    topic = letter.message.topic
    if topic not in TOPICS:
        return Fence(letter.group, {})
    part = partition_of(letter.message.key, TOPICS[topic].partitions)
    return Fence(letter.group, {TopicPartition(topic, part): None})


async def expire_dead_letters(database: Database, kept: timedelta = KEPT) -> int:
    """Delete what is older than `kept`; a stream that still stands behind one is then healed from its owner."""
    async with database.transaction() as tx:
        return (await tx.execute(_EXPIRE, {"kept_seconds": kept.total_seconds()})).rowcount
