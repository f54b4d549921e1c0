"""One transaction per batch; when a use case fails on it, halves of halves, until the one event is found."""

from collections.abc import Sequence

from shared.bus.arrivals import Arrival
from shared.bus.dead_letter_rows import HANDLER_FAILED, DeadLetter, keep_dead_letters
from shared.bus.intake import Intake, Outcome
from shared.bus.offsets import Fence, Fenced
from shared.bus.streams import load_waiting, unpark
from shared.clock import utc_now
from shared.db.engine import Database
from shared.db.errors import is_infrastructure
from shared.db.faultpoints import faultpoint
from shared.metrics import END_TO_END, EVENTS_CONSUMED, INBOX_DUPLICATES


def _is_poison(error: Exception) -> bool:
    return not isinstance(error, Fenced) and not is_infrastructure(error)


async def apply_batch(database: Database, intake: Intake, arrivals: Sequence[Arrival], fence: Fence) -> Outcome:
    """Apply `arrivals` in order, in one transaction when nothing fails.

    A deterministic failure of a use case becomes a dead letter in the transaction that passes over its event. Raises
    Fenced and infrastructure errors: the caller comes again with everything that was not committed.
    """
    try:
        return await _apply_once(database, intake, arrivals, fence)
    except Exception as error:
        if not _is_poison(error):
            raise
    if len(arrivals) == 1:
        return await _apply_alone(database, intake, arrivals[0], fence)
    middle = len(arrivals) // 2
    outcome = await apply_batch(database, intake, arrivals[:middle], fence)
    outcome.add(await apply_batch(database, intake, arrivals[middle:], fence))
    return outcome


async def _apply_once(
    database: Database, intake: Intake, arrivals: Sequence[Arrival], fence: Fence, *, drain: bool = True
) -> Outcome:
    async with database.transaction() as tx:
        outcome = await intake.apply(tx, await fence.enter(tx, arrivals), drain=drain)
        await fence.leave(tx)
        faultpoint("consumer.commit")
    faultpoint("consumer.committed")
    faultpoint(f"{intake.group}.consumed")
    _measure(intake.group, outcome)
    return outcome


async def _apply_alone(database: Database, intake: Intake, arrival: Arrival, fence: Fence) -> Outcome:
    """The last try, without what is parked behind the event: the fault may be there."""
    try:
        outcome = await _apply_once(database, intake, [arrival], fence, drain=False)
    except Exception as error:
        if not _is_poison(error):
            raise
        return await _bury(database, intake, arrival, fence, error)
    if arrival.stream is not None:
        outcome.add(await drain_parked(database, intake, arrival.stream, fence))
    return outcome


async def _bury(database: Database, intake: Intake, arrival: Arrival, fence: Fence, error: Exception) -> Outcome:
    outcome = Outcome()
    async with database.transaction() as tx:
        for poison in await fence.enter(tx, [arrival]):
            letter = DeadLetter.of(intake.group, poison, HANDLER_FAILED, f"{type(error).__name__}: {error}")
            await keep_dead_letters(tx, [letter])
            if poison.stream is not None and poison.envelope is not None:
                await unpark(tx, intake.group, {poison.stream: poison.envelope.version})
            outcome.results[poison.type, "dead"] += 1
        await fence.leave(tx)
        faultpoint("consumer.commit")
    faultpoint("consumer.committed")
    _measure(intake.group, outcome)
    return outcome


async def drain_parked(database: Database, intake: Intake, stream: str, fence: Fence) -> Outcome:
    """Apply the parked events of `stream` that now continue it, one transaction each, until a gap or a poison."""
    outcome = Outcome()
    passing = fence.without_records()
    while True:
        async with database.transaction() as tx:
            await passing.enter(tx, [])
            current = (await intake.guard.lock(tx, [stream]))[stream]
            waiting = await load_waiting(tx, intake.group, [stream])
        following = waiting.parked.get(stream, {}).get(current + 1)
        if following is None:
            return outcome
        try:
            outcome.add(await _apply_once(database, intake, [following], passing, drain=False))
        except Exception as error:
            if not _is_poison(error):
                raise
            outcome.add(await _bury(database, intake, following, passing, error))


def _measure(group: str, outcome: Outcome) -> None:
    for (name, result), number in outcome.results.items():
        EVENTS_CONSUMED.labels(group, name, result).inc(number)
    if duplicates := outcome.count("duplicate"):
        INBOX_DUPLICATES.labels(group).inc(duplicates)
    now = utc_now()
    delays = {name: END_TO_END.labels(group, name) for name, result in outcome.results if result == "applied"}
    for delivery in outcome.applied:
        delay = (now - delivery.event.recorded_at).total_seconds()
        delays[delivery.envelope.type].observe(max(0.0, delay))
