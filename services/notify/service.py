"""The notify service, put together: its table of contents."""

from services.notify.api import alerts, channels, deliveries, inbox, rules
from services.notify.api.context import Context
from services.notify.api.problems import answer_refusal
from services.notify.channels import adapters
from services.notify.channels.channel import Means
from services.notify.consumers import subscriptions
from services.notify.domain.refusal import Refusal, StillInUse
from services.notify.jobs import jobs
from services.notify.settings import NotifySettings
from services.notify.store.exports import EXPORTS
from services.notify.use_cases.alerting import Alerting
from services.notify.use_cases.inbox import FEED, Postman
from services.notify.use_cases.names import NameBook
from services.notify.use_cases.sending import Sender
from shared.db.engine import Signal
from shared.runtime.service import Loop, Resources, Service
from shared.web.app import create_app
from shared.web.sse import Broadcast, Feed


def build(settings: NotifySettings, resources: Resources) -> Service:
    """Return notify over `resources`; nothing runs yet."""
    database, clock = resources.database, resources.clock
    wake, told = Signal(), Broadcast()
    alerting = Alerting(clock, settings.zone, wake)
    names = NameBook(resources.peers, settings.names_kept_for, clock)
    postman = Postman(database, clock, told)
    means = Means(resources.http, settings.delivery_timeout, settings.webhook_allow_private, postman.post)
    ways_out = adapters(means)
    sender = Sender(database, ways_out, names, settings, clock, wake)
    reads = subscriptions(alerting)
    app = create_app(
        "notify",
        title="SalesGrain notify: alert rules, alerts, channels, deliveries, inbox",
        context=Context(database, clock, alerting, ways_out, names, wake, Feed(database, FEED, told)),
        database=database,
        verifier=resources.verifier,
        clock=clock,
        settings=settings,
        routers=(rules.router, channels.router, alerts.router, deliveries.router, inbox.router),
        exports=EXPORTS,
        subscriptions=reads,
    )
    for refusal in (Refusal, StillInUse):
        app.add_exception_handler(refusal, answer_refusal)
    return Service(
        "notify",
        app,
        database,
        subscriptions=reads,
        jobs=jobs(database, alerting),
        loops=(Loop("sender", sender.run),),
    )
