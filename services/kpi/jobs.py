"""What kpi does by the clock."""

from datetime import timedelta

from services.kpi.use_cases.context import Context
from services.kpi.use_cases.watching import announce_new_periods, forget_unwatched
from shared.runtime.service import Job


def jobs(context: Context) -> tuple[Job, ...]:
    """Return the jobs: new periods of rolling watches, and what is to be forgotten."""

    async def new_periods() -> None:
        await announce_new_periods(context.database, context.clock, context.zone)

    async def unwatched() -> None:
        await forget_unwatched(context.database, context.clock)

    return (
        Job("announce_new_periods", timedelta(seconds=5), new_periods),
        Job("forget_unwatched", timedelta(minutes=1), unwatched),
    )
