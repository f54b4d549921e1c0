"""How far the numbers are: the newest counted event, streams that stand still, and waiting for one event."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Self

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.store.entities import counted_versions
from services.kpi.store.freshness import newest_counted
from shared.bus.streams import parked_streams
from shared.db.engine import Database, Signal

GROUP = "kpi"
LONGEST_WAIT_SECONDS = 5.0
# Commits of this process wake who waits at once; those of other replicas are looked for.
LOOK_EVERY_SECONDS = 0.05


class Commits(Signal):
    """The commits of this process' consumer: they wake the announcer, and every request that waits for an event."""

    def __init__(self) -> None:
        super().__init__()
        self._requests: set[Signal] = set()
        self._looked_for: set[str] = set()
        self._next_look: asyncio.Task[Mapping[str, int]] | None = None
        self._looking = asyncio.Lock()

    def set(self) -> None:
        super().set()
        for request in self._requests:
            request.set()

    @contextmanager
    def followed(self) -> Iterator[Signal]:
        """Give a request a signal of its own within the block."""
        request = Signal()
        self._requests.add(request)
        try:
            yield request
        finally:
            self._requests.discard(request)

    async def counted(self, database: Database, stream: str) -> int:
        """Return up to which version a stream is counted.

        Whoever asks while a look is on its way shares the next one: each commit wakes all who wait, and when counting
        is behind they are many; a look of each one's own would hold up counting still more.
        """
        self._looked_for.add(stream)
        if self._next_look is None:
            self._next_look = asyncio.create_task(self._look(database))
            self._next_look.add_done_callback(_retrieve)
        # One request that is given up must not end the look of the others.
        return (await asyncio.shield(self._next_look)).get(stream, 0)

    async def _look(self, database: Database) -> Mapping[str, int]:
        async with self._looking:
            self._next_look = None
            streams, self._looked_for = self._looked_for, set()
            return await counted_versions(database, streams)


def _retrieve(look: "asyncio.Task[Mapping[str, int]]") -> None:
    """All who asked may be gone: its error is not news then."""
    if not look.cancelled():
        look.exception()


@dataclass(frozen=True, slots=True)
class AsOf:
    """What an answer stands on."""

    recorded_at: datetime | None
    parked_streams: int


@dataclass(frozen=True, slots=True)
class ConsistencyToken:
    """A version of a stream, as `stream@version`."""

    stream: str
    version: int

    @classmethod
    def parse(cls, token: str) -> Self:
        """Read a token; raises ValueError."""
        stream, _, version = token.rpartition("@")
        return cls(stream, int(version))


async def as_of(tx: AsyncConnection) -> AsOf:
    """Return how far the numbers of this transaction's snapshot are."""
    return AsOf(await newest_counted(tx), await parked_streams(tx, GROUP))


async def wait_until_counted(database: Database, commits: Commits, token: ConsistencyToken) -> bool:
    """Wait until the event of `token` is counted, at most 5 s; tell whether it is."""
    deadline = monotonic() + LONGEST_WAIT_SECONDS
    with commits.followed() as committed:
        while True:
            version = await commits.counted(database, token.stream)
            if version >= token.version or monotonic() > deadline:
                return version >= token.version
            await committed.wait(LOOK_EVERY_SECONDS)
