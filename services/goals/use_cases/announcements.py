"""Teams and people are told to the others, and to our own directory at once, so that row scopes hold immediately."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.auth.directory import apply_people
from shared.db.outbox import announce
from shared.events.goals import PersonChanged, TeamChanged


@dataclass(frozen=True, slots=True)
class _Told:
    event: TeamChanged | PersonChanged


async def announce_directory(tx: AsyncConnection, events: Sequence[TeamChanged | PersonChanged]) -> None:
    """Write the events to the outbox and apply them to the directory of this service."""
    await announce(tx, events)
    await apply_people(tx, [_Told(event) for event in events])
