"""What notify does by the clock."""

from datetime import timedelta

from services.notify.use_cases.alerting import Alerting
from services.notify.use_cases.holds import fire_due
from shared.clock import Clock
from shared.db.engine import Database, Signal
from shared.runtime.service import Job
from shared.web.idempotency import forget_old_keys
from shared.web.sse import forget_old_entries


def jobs(database: Database, clock: Clock, alerting: Alerting, wake: Signal) -> tuple[Job, ...]:
    """Return the timers: what has lasted long enough fires, what nobody will ask for again goes."""

    async def holds() -> None:
        if await fire_due(database, alerting):
            wake.set()

    async def leftovers() -> None:
        async with database.transaction() as tx:
            await forget_old_keys(tx, clock())
            await forget_old_entries(tx, clock())

    return (Job("holds", timedelta(seconds=1), holds), Job("leftovers", timedelta(minutes=10), leftovers))
