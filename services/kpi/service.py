"""The KPI service put together: routes, consumers, jobs and the announcer."""

from services.kpi.api import definitions, funnel, stream, values
from services.kpi.consumers import subscriptions
from services.kpi.jobs import jobs
from services.kpi.settings import KpiSettings
from services.kpi.store.exports import ValuesExport
from services.kpi.store.numbers import Numbers
from services.kpi.use_cases.announcing import FEED, Announcer
from services.kpi.use_cases.context import Context
from services.kpi.use_cases.counting import Counting
from services.kpi.use_cases.freshness import Commits
from shared.events.kpi import VALUES
from shared.runtime.service import Loop, Resources, Service
from shared.web.app import create_app
from shared.web.feeds import Broadcast, Feed


def build(settings: KpiSettings, resources: Resources) -> Service:
    """Return the KPI service."""
    database, clock, zone = resources.database, resources.clock, settings.zone
    listeners, commits = Broadcast(), Commits()
    context = Context(database, clock, zone, Feed(database, FEED, listeners), commits)
    consuming = subscriptions(Counting(Numbers(database), zone), commits)
    app = create_app(
        "kpi",
        title="SalesGrain KPI",
        context=context,
        database=database,
        verifier=resources.verifier,
        clock=clock,
        settings=settings,
        routers=[values.router, funnel.router, definitions.router, stream.router],
        exports={VALUES: ValuesExport()},
        subscriptions=consuming,
    )
    announcer = Announcer(database, clock, zone, commits, listeners)
    return Service(
        name="kpi",
        app=app,
        database=database,
        subscriptions=consuming,
        jobs=jobs(context),
        loops=(Loop("announcer", announcer.run, exclusive=True),),
    )
