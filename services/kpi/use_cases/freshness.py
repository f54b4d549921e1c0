"""How far the numbers are: the newest counted event, streams that stand still, and waiting for one event."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Self

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.store.entities import stream_version
from services.kpi.store.freshness import newest_counted
from services.kpi.store.generations import active_generation
from shared.bus.streams import parked_streams
from shared.db.engine import Database

GROUP = "kpi"
LONGEST_WAIT_SECONDS = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.05


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


async def wait_until_counted(database: Database, token: ConsistencyToken) -> bool:
    """Wait until the event of `token` is counted, at most 5 s; tell whether it is."""
    deadline = monotonic() + LONGEST_WAIT_SECONDS
    pause = _FIRST_PAUSE
    while True:
        async with database.autocommit() as connection:
            version = await stream_version(connection, await active_generation(connection), token.stream)
        if version >= token.version or monotonic() > deadline:
            return version >= token.version
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
