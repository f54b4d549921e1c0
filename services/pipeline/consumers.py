"""What pipeline listens to: people and teams, for owners and row scopes."""

from services.pipeline.use_cases.context import Context
from shared.auth.directory_updates import apply_people
from shared.bus.subscription import Subscription
from shared.events.goals import PEOPLE, PersonChanged, TeamChanged


def subscriptions(_context: Context) -> tuple[Subscription, ...]:
    """Return every subscription of pipeline."""
    return (Subscription("pipeline", (PEOPLE,), {PersonChanged: apply_people, TeamChanged: apply_people}),)
