"""What pipeline listens to: people and teams for owners and row scopes, and API keys."""

from collections.abc import Mapping

from services.pipeline.use_cases.context import Context
from shared.auth.directory_updates import apply_api_keys, apply_people
from shared.bus.subscription import Handler, Subscription
from shared.events.base import Event
from shared.events.goals import PEOPLE, ApiKeyChanged, PersonChanged, TeamChanged


def subscriptions(_context: Context) -> tuple[Subscription, ...]:
    """Return every subscription of pipeline."""
    handlers: Mapping[type[Event], Handler] = {
        PersonChanged: apply_people,
        TeamChanged: apply_people,
        ApiKeyChanged: apply_api_keys,
    }
    return (Subscription("pipeline", (PEOPLE,), handlers),)
