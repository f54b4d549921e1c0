"""What kpi listens to: event type -> use case."""

from collections.abc import Mapping

from services.kpi.use_cases.counting import Counting
from services.kpi.use_cases.freshness import GROUP
from services.kpi.use_cases.processes import apply_processes
from services.kpi.use_cases.watching import apply_directory, apply_watches
from shared.auth.directory_updates import apply_api_keys
from shared.bus.subscription import Handler, Subscription
from shared.db.engine import Signal
from shared.events import goals, notify, pipeline
from shared.events.base import Event


def subscriptions(counting: Counting, committed: Signal) -> tuple[Subscription, ...]:
    """Return the one subscription of kpi; `committed` wakes the announcer."""
    # Every event of the two streams goes to the same use case: neighbours for one use case are one batch.
    count: Handler = counting.apply
    handlers: Mapping[type[Event], Handler] = {
        **{event: count for event in pipeline.EVENTS if event.topic in (pipeline.DEALS, pipeline.CUSTOMERS)},
        pipeline.ProcessChanged: apply_processes,
        goals.PersonChanged: apply_directory,
        goals.TeamChanged: apply_directory,
        goals.ApiKeyChanged: apply_api_keys,
        goals.GoalChanged: apply_watches,
        notify.RuleChanged: apply_watches,
    }
    topics = (pipeline.DEALS, pipeline.CUSTOMERS, pipeline.PROCESSES, goals.PEOPLE, goals.GOALS, notify.RULES)
    return (Subscription(GROUP, topics, handlers, guard=counting, committed=committed),)
