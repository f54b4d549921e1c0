"""What goals listens to: the values that kpi announces."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from services.goals.use_cases.context import Context
from services.goals.use_cases.progress import apply_values
from shared.bus.subscription import Delivery, Subscription
from shared.events.kpi import VALUES, ValueAnnounced


def subscriptions(context: Context) -> tuple[Subscription, ...]:
    """Return the one table from event type to use case."""

    async def values(tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
        await apply_values(context, tx, deliveries)

    return (Subscription("goals", (VALUES,), {ValueAnnounced: values}),)
