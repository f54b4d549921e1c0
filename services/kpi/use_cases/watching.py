"""Who watches which values: goals, alert rules and open event streams say so; the announcer serves them."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.domain.days import microseconds_of
from services.kpi.domain.definitions import DEFINITIONS
from services.kpi.domain.periods import watched_period
from services.kpi.store.marks import add_marks, mark_of_everything, mark_of_watch
from services.kpi.store.watches import drop_unwatched, replace_watches, rolling_watches
from shared.auth.directory import apply_people
from shared.bus.subscription import Delivery
from shared.calendar import local_day
from shared.clock import Clock
from shared.db.engine import Database
from shared.events.goals import GoalChanged
from shared.events.kpi import Watch
from shared.events.notify import RuleChanged
from shared.money import MoneyError, exponent
from shared.tracing import Cause, current_cause, new_cause

# An event stream ends after an hour at the latest, and a client that comes again renews its watches.
STREAM_LEASE = timedelta(minutes=65)


async def apply_watches(tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
    """Keep the newest set of watches of each goal and rule; what is new to it will be announced at once."""
    for delivery in deliveries:
        event = delivery.event
        if isinstance(event, GoalChanged | RuleChanged):
            watches = () if event.deleted else event.watches
            await watch(tx, event.stream, event.version, watches, cause=delivery.envelope.cause)


async def watch(
    tx: AsyncConnection,
    subscriber: str,
    version: int,
    watches: Iterable[Watch],
    *,
    cause: Cause,
    expires_at: datetime | None = None,
) -> None:
    """Make `watches` the whole set of `subscriber` unless a newer one is known; those without sense are left out."""
    known = [one for one in watches if one.kpi in DEFINITIONS and _is_currency(one.currency)]
    new = await replace_watches(tx, subscriber, version, known, expires_at)
    await add_marks(tx, [mark_of_watch(key, cause) for key in new])


async def watch_for_stream(tx: AsyncConnection, watches: Sequence[Watch], now: datetime) -> None:
    """Have `watches` announced while somebody listens to them; equal sets of different listeners are one."""
    if watches:
        names = hashlib.sha256("\n".join(sorted(one.key for one in watches)).encode()).hexdigest()
        version = microseconds_of(now)
        await watch(tx, f"stream:{names}", version, watches, cause=current_cause(), expires_at=now + STREAM_LEASE)


async def apply_directory(tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
    """Keep people and teams; whoever moved takes numbers from one scope to another, so look at every watch again."""
    await apply_people(tx, deliveries)
    await add_marks(tx, [mark_of_everything(deliveries[-1].envelope.cause)])


async def announce_new_periods(database: Database, clock: Clock, zone: ZoneInfo) -> None:
    """Have the watches of a present day, week, month ... announced when a new one has begun."""
    today = local_day(clock(), zone)
    async with database.transaction() as tx:
        rolling = await rolling_watches(tx)
        begun = [
            one.watch.key
            for one in rolling
            if one.announced is not None and one.announced < watched_period(one.watch, today).start
        ]
        await add_marks(tx, [mark_of_watch(key, new_cause()) for key in begun])


async def forget_unwatched(database: Database, clock: Clock) -> None:
    """Drop the watches of streams that were closed, and every watch that nobody wants any more."""
    async with database.transaction() as tx:
        await drop_unwatched(tx, clock())


def _is_currency(code: str | None) -> bool:
    try:
        return code is None or exponent(code) >= 0
    except MoneyError:
        return False
