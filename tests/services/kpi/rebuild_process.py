"""A rebuild in a process of its own: `python -m tests.services.kpi.rebuild_process KPI BUS`, with FAULTPOINT from outside.

Standard input holds what the owner's export tells, and what is committed behind its pages.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence

import msgspec

from services.kpi.settings import KpiSettings
from services.kpi.use_cases.rebuild import rebuild
from shared.bus.opening import open_bus
from shared.bus.protocol import Bus
from shared.db.engine import Database
from shared.db.faultpoints import arm_from_environment
from shared.events.codec import Message
from shared.events.pipeline import DEALS


class Told(msgspec.Struct, frozen=True):
    """Complete streams, and one that comes while they are read."""

    streams: tuple[tuple[Message, ...], ...]
    late: tuple[Message, ...]


class GrowingExport:
    """Tells two streams a page; when all are told, the late one appears on the bus, once and without its beginning."""

    def __init__(self, bus: Bus, told: Told) -> None:
        self._bus = bus
        self._told = told
        self._late = told.late

    async def pages(self, topic: str) -> AsyncIterator[Sequence[Message]]:
        if topic != DEALS:
            return
        streams = self._told.streams
        for start in range(0, len(streams), 2):
            yield [message for stream in streams[start : start + 2] for message in stream]
        late, self._late = self._late, ()
        await self._bus.append(late[1:])

    async def after(self, topic: str, stream: str, version: int) -> Sequence[Message]:
        return [message for message in self._told.late if (message.topic, message.key) == (topic, stream)][version:]


async def main(kpi: str, bus_url: str, told: Told) -> None:
    arm_from_environment()
    database, bus = Database(kpi, "kpi-test"), await open_bus(bus_url)
    await rebuild(database, bus, GrowingExport(bus, told), KpiSettings())
    await bus.close()
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:], told=msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Told)))
