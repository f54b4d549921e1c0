"""The truth behind the topics of goals: present rows as the events that told them, tombstones included."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.goals.store import api_keys, goals, people, progress, teams
from shared.events.base import StateEvent
from shared.events.codec import Message, encode
from shared.events.goals import GOALS, PEOPLE

Load = Callable[[AsyncConnection, Sequence[str]], Awaitable[Sequence[StateEvent]]]

_PEOPLE_STREAMS = """
    SELECT 'person:' || id AS stream FROM person
    UNION ALL SELECT 'team:' || id FROM team
    UNION ALL SELECT 'api_key:' || id FROM api_key
"""
_GOAL_STREAMS = """
    SELECT 'goal:' || id AS stream FROM goal
    UNION ALL SELECT 'progress:' || goal_id || ':' || holder FROM progress WHERE version > 0
"""


@dataclass(frozen=True, slots=True)
class StateExport:
    """A state topic told from present rows: `streams` lists all, `loads` reads those of one kind by their names."""

    streams: str
    loads: Mapping[str, Load]

    async def page(
        self, tx: AsyncConnection, after_stream: str | None, limit: int
    ) -> tuple[Sequence[Message], str | None]:
        """Return the states of up to `limit` streams behind `after_stream`, and the stream to continue behind."""
        found = await tx.execute(
            text(
                f'SELECT stream FROM ({self.streams}) AS streams WHERE stream COLLATE "C" > :after'  # noqa: S608 - ours
                ' ORDER BY stream COLLATE "C" LIMIT :limit'
            ),
            {"after": after_stream or "", "limit": limit},
        )
        streams = list(found.scalars())
        events = await self._events(tx, streams)
        messages = [encode(events[stream]) for stream in streams if stream in events]
        return messages, streams[-1] if len(streams) == limit else None

    async def after(self, tx: AsyncConnection, stream: str, version: int) -> Sequence[Message]:
        """Return the present state of `stream` when it is newer than `version`."""
        events = await self._events(tx, [stream])
        return [encode(event) for event in events.values() if event.version > version]

    async def _events(self, tx: AsyncConnection, streams: Sequence[str]) -> dict[str, StateEvent]:
        found: dict[str, StateEvent] = {}
        for kind, load in self.loads.items():
            names = [stream.removeprefix(f"{kind}:") for stream in streams if stream.startswith(f"{kind}:")]
            if names:
                found |= {event.stream: event for event in await load(tx, names)}
        return found


def _ids(names: Sequence[str]) -> list[UUID]:
    """Ids of well-formed names; what is not one names nothing of ours."""
    found = []
    for name in names:
        try:
            found.append(UUID(name))
        except ValueError:
            continue
    return found


async def _people(tx: AsyncConnection, names: Sequence[str]) -> Sequence[StateEvent]:
    return await people.events(tx, _ids(names))


async def _teams(tx: AsyncConnection, names: Sequence[str]) -> Sequence[StateEvent]:
    return await teams.events(tx, _ids(names))


async def _api_keys(tx: AsyncConnection, names: Sequence[str]) -> Sequence[StateEvent]:
    return await api_keys.events(tx, _ids(names))


async def _goals(tx: AsyncConnection, names: Sequence[str]) -> Sequence[StateEvent]:
    return await goals.events(tx, _ids(names))


async def _progress(tx: AsyncConnection, names: Sequence[str]) -> Sequence[StateEvent]:
    pairs = [name.partition(":") for name in names]
    return await progress.events(tx, [(id_, holder) for goal, _, holder in pairs for id_ in _ids([goal])])


EXPORTS: Mapping[str, StateExport] = {
    PEOPLE: StateExport(_PEOPLE_STREAMS, {"person": _people, "team": _teams, "api_key": _api_keys}),
    GOALS: StateExport(_GOAL_STREAMS, {"goal": _goals, "progress": _progress}),
}
