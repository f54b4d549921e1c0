"""The table of contents of goals."""

from services.goals.api import allocations, api_keys, attainment, goals, names, people, quotas, teams
from services.goals.api.refusals import refused
from services.goals.consumers import subscriptions
from services.goals.domain.progress import Thresholds
from services.goals.domain.refusal import Refusal
from services.goals.domain.standing import Yardstick
from services.goals.jobs import jobs
from services.goals.settings import GoalsSettings
from services.goals.store.exports import EXPORTS
from services.goals.use_cases.context import Context
from shared.calendar import BusinessCalendar
from shared.runtime.service import Resources, Service
from shared.web.app import create_app

ROUTERS = (
    teams.router,
    people.router,
    names.router,
    api_keys.router,
    goals.router,
    allocations.router,
    quotas.router,
    attainment.router,
)


def build(settings: GoalsSettings, resources: Resources) -> Service:
    """Return the service: its routes, what it consumes and what it does by the clock."""
    context = Context(
        database=resources.database,
        clock=resources.clock,
        kpi=resources.peers.kpi,
        yardstick=Yardstick(
            BusinessCalendar(settings.zone, settings.business_country),
            Thresholds(settings.at_risk_pace, settings.at_risk_hysteresis),
        ),
    )
    consumed = subscriptions(context)
    app = create_app(
        "goals",
        title="SalesGrain goals",
        context=context,
        database=resources.database,
        verifier=resources.verifier,
        clock=resources.clock,
        settings=settings,
        routers=ROUTERS,
        exports=EXPORTS,
        subscriptions=consumed,
    )
    app.add_exception_handler(Refusal, refused)
    return Service("goals", app, resources.database, consumed, jobs(settings, context))
