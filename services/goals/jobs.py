"""What goals does by the clock."""

from datetime import timedelta

from services.goals.settings import GoalsSettings
from services.goals.use_cases.context import Context
from services.goals.use_cases.progress import review_running
from shared.runtime.service import Job
from shared.web.idempotency import forget_old_keys


def jobs(settings: GoalsSettings, context: Context) -> tuple[Job, ...]:
    """Return the one table from timer to use case."""

    async def review() -> None:
        await review_running(context)

    async def forget() -> None:
        async with context.database.transaction() as tx:
            await forget_old_keys(tx, context.clock())

    return (
        Job("review_running_goals", timedelta(seconds=settings.progress_review_seconds), review),
        Job("forget_idempotency_keys", timedelta(hours=1), forget),
    )
