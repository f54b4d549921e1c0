"""What goals does by the clock."""

from datetime import timedelta

from services.goals.settings import GoalsSettings
from services.goals.use_cases.context import Context
from services.goals.use_cases.progress import review_running
from shared.runtime.service import Job


def jobs(settings: GoalsSettings, context: Context) -> tuple[Job, ...]:
    """Return the one table from timer to use case."""

    async def review() -> None:
        await review_running(context)

    return (Job("review_running_goals", timedelta(seconds=settings.progress_review_seconds), review),)
