"""Which event goes to which use case of notify."""

from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notify.use_cases.alerting import Alerting
from services.notify.use_cases.happenings import apply_deal_events, apply_goal_progress
from services.notify.use_cases.values import apply_values
from shared.auth.directory_updates import apply_api_keys, apply_people
from shared.bus.subscription import Delivery, Handler, Subscription
from shared.events.goals import GOALS, PEOPLE, ApiKeyChanged, GoalProgressed, PersonChanged, TeamChanged
from shared.events.kpi import VALUES, ValueAnnounced
from shared.events.pipeline import DEALS, DealCreated, DealDeleted, DealMoved, DealSlaBreached

UseCase = Callable[[AsyncConnection, Sequence[Delivery], Alerting], Awaitable[None]]


def subscriptions(alerting: Alerting) -> tuple[Subscription, ...]:
    """Return what notify reads; deals by themselves, so that a large import holds up no figure."""
    deals = _handler(apply_deal_events, alerting)
    return (
        Subscription(
            group="notify",
            topics=(VALUES, GOALS, PEOPLE),
            handlers={
                ValueAnnounced: _handler(apply_values, alerting),
                GoalProgressed: _handler(apply_goal_progress, alerting),
                PersonChanged: apply_people,
                TeamChanged: apply_people,
                ApiKeyChanged: apply_api_keys,
            },
        ),
        Subscription(
            group="notify-deals",
            topics=(DEALS,),
            handlers={DealCreated: deals, DealMoved: deals, DealSlaBreached: deals, DealDeleted: deals},
        ),
    )


def _handler(use_case: UseCase, alerting: Alerting) -> Handler:
    async def handle(tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
        await use_case(tx, deliveries, alerting)

    return handle
