"""Goals and quotas follow what kpi announces, and the days that pass."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncConnection

from services.goals.domain.progress import Measured
from services.goals.domain.standing import Standing
from services.goals.store import progress
from services.goals.use_cases.context import Context
from services.goals.use_cases.goals import keep
from shared.bus.subscription import Delivery
from shared.db.outbox import announce_messages
from shared.events.codec import encode
from shared.events.kpi import ValueAnnounced
from shared.tracing import caused_by, new_cause

_PAGE = 500


async def apply_values(context: Context, tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
    """Take announced values in; each change of a target is announced as caused by its value."""
    newest = _newest(deliveries)
    values = {key: _measured(event) for key, (event, _) in newest.items()}
    news = await progress.store_values(tx, values)
    now = context.clock()
    before = await progress.lock_watching(tx, news)
    after = [row.updated(context.yardstick, now, measured=values[row.watch_key]) for row in before]
    await progress.save(tx, after)
    await announce_messages(
        tx,
        [
            encode(new.announced(), newest[new.watch_key][1].envelope.cause)
            for old, new in zip(before, after, strict=True)
            if new.version != old.version
        ],
    )


async def review_running(context: Context) -> None:
    """Look at every running target again: a day without results is a day nearer to the end."""
    last: Standing | None = None
    while True:
        async with context.database.transaction() as tx:
            now = context.clock()
            behind = (last.goal_id, last.holder) if last else None
            rows = await progress.lock_undecided(tx, context.yardstick.today(now), behind, _PAGE)
            after = [row.updated(context.yardstick, now) for row in rows]
            changed = [(old, new) for old, new in zip(rows, after, strict=True) if new.version != old.version]
            with caused_by(new_cause()):
                await keep(tx, [old for old, _ in changed], [new for _, new in changed])
        if len(rows) < _PAGE:
            return
        last = rows[-1]


def _newest(deliveries: Sequence[Delivery]) -> Mapping[str, tuple[ValueAnnounced, Delivery]]:
    """Return the newest value of each fixed range of days, by watch, sorted: the order in which they are locked."""
    found: dict[str, tuple[ValueAnnounced, Delivery]] = {}
    for delivery in deliveries:
        event = delivery.event
        if not isinstance(event, ValueAnnounced) or not _is_ours(event):
            continue
        known = found.get(event.watch.key)
        if known is None or known[0].version < event.version:
            found[event.watch.key] = (event, delivery)
    return dict(sorted(found.items()))


def _is_ours(event: ValueAnnounced) -> bool:
    """Goals watch fixed ranges in one currency; values of moving periods or of any currency are for alert rules."""
    return event.watch.start is not None and event.currency == event.watch.currency


def _measured(event: ValueAnnounced) -> Measured:
    """A withdrawn value is no value."""
    value = None if event.deleted or event.value is None else Decimal(event.value)
    return Measured(event.version, value, event.reason, event.recorded_at)
