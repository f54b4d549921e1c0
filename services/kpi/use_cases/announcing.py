"""The announcer: the one place where a changed value becomes an event.

Folds only leave marks. Announcing inside the fold would suffer write skew: two folds on different days of one month
each see their own half of the sum. So ONE loop locks the watches first and reads their sums in a new statement.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.domain.days import day_number, microseconds_of
from services.kpi.domain.definitions import DEFINITIONS, NOTHING, Definition, Sums
from services.kpi.domain.periods import watched_period
from services.kpi.domain.values import evaluate
from services.kpi.store.generations import held_generation
from services.kpi.store.marks import Mark, drop_marks, waiting_marks
from services.kpi.store.scopes import FIRST_DAY, shares_of_names
from services.kpi.store.sums import Filters, read_sums
from services.kpi.store.watches import announced_values, lock_watches, save_values
from services.kpi.use_cases.concerns import concerns_of
from services.kpi.use_cases.readings import period_readings
from shared.calendar import Period, local_day
from shared.clock import Clock, rfc3339
from shared.db.engine import Database, Signal
from shared.db.outbox import announce_messages
from shared.events.codec import encode
from shared.events.kpi import ValueAnnounced, Watch
from shared.web.feeds import Broadcast, FeedItem, append_to_feed

FEED = "values"
# Transactions; a fold of 500 events may leave some 2000 marks.
LARGEST_TAKE = 20
IDLE_SECONDS = 0.2
# Folds that follow each other change the same values: one announcement tells what several of them left.
GATHER_SECONDS = 0.03
# What a new value must differ in from the one before to be worth an event.
_TOLD = ("period_end", "value", "numerator", "denominator", "sample_size", "reason", "definition_version")


class Announcer:
    """Run by one replica at a time."""

    def __init__(
        self, database: Database, clock: Clock, zone: ZoneInfo, committed: Signal, listeners: Broadcast
    ) -> None:
        self._database = database
        self._clock = clock
        self._zone = zone
        self._committed = committed
        self._listeners = listeners

    async def run(self) -> None:
        """Announce until cancelled, woken by the consumer's commits."""
        while True:
            if await self.step():
                await asyncio.sleep(GATHER_SECONDS)
            else:
                await self._committed.wait(IDLE_SECONDS)

    async def step(self) -> int:
        """Take the waiting marks and announce every value that they changed; returns the number of marks."""
        async with self._database.transaction() as tx:
            waiting = await waiting_marks(tx, LARGEST_TAKE)
            if waiting.marks:
                events = await self._announce(tx, waiting.marks)
                await drop_marks(tx, waiting.ids)
                await append_to_feed(tx, FEED, [FeedItem(event.watch.scope, "value", shown(event)) for event in events])
        if waiting.marks:
            self._listeners.notify()
        return len(waiting.marks)

    async def _announce(self, tx: AsyncConnection, marks: Sequence[Mark]) -> list[ValueAnnounced]:
        now = self._clock()
        today = local_day(now, self._zone)
        concerns = await concerns_of(tx, marks, today)
        if not concerns:
            return []
        watches = await lock_watches(tx, concerns.keys())
        before = {event.stream: event for event in await announced_values(tx, watches)}
        values = await present_values(tx, watches, before.values(), today, now)
        changed = [
            _succeeding(event, before.get(event.stream))
            for event in sorted(values, key=lambda event: event.key)
            if concerns[event.watch.key].forced or _differs(event, before.get(event.stream))
        ]
        await save_values(tx, changed)
        await announce_messages(tx, [encode(event, concerns[event.watch.key].cause) for event in changed])
        return changed


async def present_values(
    tx: AsyncConnection, watches: Sequence[Watch], before: Iterable[ValueAnnounced], on: date, now: datetime
) -> list[ValueAnnounced]:
    """Return the values of `watches` as they are on the day `on`, recorded at `now`, with version 0.

    A watch of money without currency has one value per currency found, and one for each that was announced `before`.
    """
    shares = await shares_of_names(tx, {watch.scope for watch in watches})
    readings = [
        reading
        for number, watch in enumerate(watches)
        for reading in period_readings(
            number,
            DEFINITIONS[watch.kpi],
            shares[watch.scope],
            _days(watched_period(watch, on)),
            Filters(watch.process or "", "", watch.currency or "").on(DEFINITIONS[watch.kpi]),
        )
    ]
    sums: dict[tuple[str, str], Sums] = {(event.watch.key, event.currency or ""): NOTHING for event in before}
    for found in await read_sums(tx, await held_generation(tx), readings, bounds=[FIRST_DAY]):
        sums[watches[found.question].key, found.currency] = found.sums
    by_watch: dict[str, dict[str, Sums]] = defaultdict(dict)
    for (key, currency), found_sums in sums.items():
        by_watch[key][currency] = found_sums
    return [event for watch in watches for event in _values_of(watch, by_watch[watch.key], on, now)]


def _values_of(watch: Watch, sums: Mapping[str, Sums], on: date, now: datetime) -> Iterator[ValueAnnounced]:
    definition, period = DEFINITIONS[watch.kpi], watched_period(watch, on)
    for currency in _currencies(watch, definition, sums):
        value = evaluate(definition, sums.get(currency or "", NOTHING), currency)
        yield ValueAnnounced(
            version=0,
            recorded_at=now,
            watch=watch,
            period_start=period.start,
            period_end=period.end,
            value=value.value,
            unit=definition.unit,
            currency=currency,
            numerator=value.numerator,
            denominator=value.denominator,
            sample_size=value.sample_size,
            reason=value.reason,
            definition_version=definition.version,
        )


def _currencies(watch: Watch, definition: Definition, sums: Iterable[str]) -> Sequence[str | None]:
    if definition.unit != "money":
        return [None]
    if watch.currency is not None:
        return [watch.currency]
    return sorted(filter(None, sums)) or [None]


def _days(period: Period) -> tuple[int, int]:
    return day_number(period.start), day_number(period.end)


def _differs(event: ValueAnnounced, before: ValueAnnounced | None) -> bool:
    return before is None or any(getattr(event, name) != getattr(before, name) for name in _TOLD)


def _succeeding(event: ValueAnnounced, before: ValueAnnounced | None) -> ValueAnnounced:
    """Give `event` a version above the one before: the clock, so that it also grows where that is forgotten."""
    version = max(before.version + 1 if before else 1, microseconds_of(event.recorded_at))
    return msgspec.structs.replace(event, version=version)


def shown(event: ValueAnnounced) -> dict[str, object]:
    """Return `event` as an item of the event stream, in the words of `GET /kpi/v1/values`."""
    return {
        "kpi": event.watch.kpi,
        "scope": event.watch.scope,
        "period": {
            "grain": event.watch.grain,
            "start": event.period_start.isoformat(),
            "end": event.period_end.isoformat(),
        },
        "process": event.watch.process,
        "value": event.value,
        "unit": event.unit,
        "currency": event.currency,
        "numerator": event.numerator,
        "denominator": event.denominator,
        "sample_size": event.sample_size,
        "reason": event.reason,
        "definition_version": event.definition_version,
        "version": event.version,
        "recorded_at": rfc3339(event.recorded_at),
    }
