"""Pipeline's table of contents: its routes, consumers and jobs."""

from dataclasses import fields
from functools import partial

from services.pipeline.api import (
    customers,
    deals,
    history,
    imports,
    moves,
    processes,
    products,
    sources,
    tasks,
    webhooks,
)
from services.pipeline.api.context import ApiContext
from services.pipeline.api.problems import answer_refusal
from services.pipeline.consumers import subscriptions
from services.pipeline.jobs import jobs, loops
from services.pipeline.settings import PipelineSettings
from services.pipeline.store.exports import EXPORTS
from services.pipeline.use_cases.context import Context
from services.pipeline.use_cases.errors import Refusal
from services.pipeline.use_cases.moves import apply_moves
from services.pipeline.use_cases.processes import has_default_process
from services.pipeline.use_cases.webhooks import receive_webhooks
from shared.calendar import BusinessCalendar
from shared.db.batcher import WriteBatcher
from shared.runtime.service import Resources, Service
from shared.web.app import create_app

ROUTERS = (
    processes.router,
    products.router,
    customers.router,
    deals.router,
    history.router,
    moves.router,
    tasks.router,
    imports.router,
    sources.router,
    webhooks.router,
)


def build(settings: PipelineSettings, resources: Resources) -> Service:
    """Return pipeline, built over `resources`; nothing is opened or started yet."""
    context = _context(settings, resources)
    app = create_app(
        "pipeline",
        title="SalesGrain pipeline",
        context=context,
        database=resources.database,
        verifier=resources.verifier,
        clock=resources.clock,
        settings=settings,
        routers=ROUTERS,
        exports=EXPORTS,
        readiness={"default_process": partial(has_default_process, resources.database)},
    )
    app.add_exception_handler(Refusal, answer_refusal)
    return Service("pipeline", app, resources.database, subscriptions(context), jobs(context, settings), loops(context))


def _context(settings: PipelineSettings, resources: Resources) -> ApiContext:
    calendar = BusinessCalendar(settings.zone, settings.business_country)
    plain = Context(resources.database, resources.clock, calendar)
    known = {field.name: getattr(plain, field.name) for field in fields(plain)}
    return ApiContext(
        **known,
        moves=WriteBatcher(partial(apply_moves, plain)),
        # One writer: two would store messages of one deal in another order than that of their arrival.
        webhooks=WriteBatcher(partial(receive_webhooks, plain), writers=1),
    )
