"""What pipeline does by the clock, and what it works on as it comes."""

from datetime import timedelta

from services.pipeline.settings import PipelineSettings
from services.pipeline.use_cases.context import Context
from services.pipeline.use_cases.import_worker import ImportWorker
from services.pipeline.use_cases.imports import expire_old_imports
from services.pipeline.use_cases.processes import install_default_process
from services.pipeline.use_cases.sla import mark_overdue_deals
from services.pipeline.use_cases.webhook_worker import WebhookWorker
from services.pipeline.use_cases.webhooks import expire_old_bodies
from shared.runtime.service import Job, Loop

INSTALL_EVERY = timedelta(minutes=1)
EXPIRE_EVERY = timedelta(hours=1)


def jobs(context: Context, settings: PipelineSettings) -> tuple[Job, ...]:
    """Return every job of pipeline."""

    async def install() -> None:
        await install_default_process(context.database, context.clock)

    async def mark() -> None:
        await mark_overdue_deals(context)

    async def expire() -> None:
        await expire_old_imports(context)
        await expire_old_bodies(context)

    return (
        Job("default_process", INSTALL_EVERY, install),
        Job("sla", timedelta(seconds=settings.sla_check_seconds), mark),
        Job("expiry", EXPIRE_EVERY, expire),
    )


def loops(context: Context) -> tuple[Loop, ...]:
    """Return the workers of what was received; each runs on one replica at a time."""
    return (
        Loop("imports", ImportWorker(context).run, exclusive=True),
        Loop("webhooks", WebhookWorker(context).run, exclusive=True),
    )
