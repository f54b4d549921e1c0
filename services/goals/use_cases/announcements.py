"""Teams, people and keys are told to the others, and to our own directory at once, so that they hold immediately."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.auth.directory_updates import apply_api_keys, apply_people
from shared.db.outbox import announce
from shared.events.goals import ApiKeyChanged, PersonChanged, TeamChanged


@dataclass(frozen=True, slots=True)
class _Told:
    event: TeamChanged | PersonChanged | ApiKeyChanged


async def announce_directory(tx: AsyncConnection, events: Sequence[TeamChanged | PersonChanged]) -> None:
    """Write the events to the outbox and apply them to the directory of this service."""
    await announce(tx, events)
    await apply_people(tx, [_Told(event) for event in events])


async def announce_api_keys(tx: AsyncConnection, events: Sequence[ApiKeyChanged]) -> None:
    """Write the events to the outbox and apply them to the directory of this service."""
    await announce(tx, events)
    await apply_api_keys(tx, [_Told(event) for event in events])
