"""What notify does by the clock: what has lasted long enough fires."""

from datetime import timedelta

from services.notify.use_cases.alerting import Alerting
from services.notify.use_cases.holds import fire_due
from shared.db.engine import Database
from shared.runtime.service import Job


def jobs(database: Database, alerting: Alerting) -> tuple[Job, ...]:
    """Return the one table from timer to use case."""

    async def holds() -> None:
        await fire_due(database, alerting)

    return (Job("holds", timedelta(seconds=1), holds),)
