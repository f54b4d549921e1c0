"""What pipeline does by the clock."""

from datetime import timedelta

from services.pipeline.settings import PipelineSettings
from services.pipeline.use_cases.context import Context
from services.pipeline.use_cases.processes import install_default_process
from services.pipeline.use_cases.sla import mark_overdue_deals
from shared.runtime.service import Job

INSTALL_EVERY = timedelta(minutes=1)


def jobs(context: Context, settings: PipelineSettings) -> tuple[Job, ...]:
    """Return every job of pipeline."""

    async def install() -> None:
        await install_default_process(context.database, context.clock)

    async def mark() -> None:
        await mark_overdue_deals(context)

    return (
        Job("default_process", INSTALL_EVERY, install),
        Job("sla", timedelta(seconds=settings.sla_check_seconds), mark),
    )
