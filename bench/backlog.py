"""Waits for what follows from our own work: a raw loop that shares the machine with it would be measured too slow."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import asyncpg

from shared.bus.protocol import Bus, TopicPartition

SERVICES = ("pipeline", "kpi", "goals", "notify")

_WAITING = "SELECT count(*) FROM outbox"
_APPLIED = "SELECT topic, part, next_off FROM consumer_offset"
_ENDS = "SELECT topic, part, next_off FROM bus_partition"


async def worked_off(url_of: Callable[[str], str], bus: Bus | None = None) -> None:
    """Return once every outbox is empty and every consumer stands at the end of the log.

    Without a `bus` that is the log in PostgreSQL, asked beside the bus: ours would be part of what is measured.
    """
    connections = {name: await asyncpg.connect(_dsn(url_of(name))) for name in (*SERVICES, "bus")}
    try:
        while True:
            if not await _left(connections, bus):
                return
            await asyncio.sleep(0.1)
    finally:
        for connection in connections.values():
            await connection.close()


async def _left(connections: dict[str, Any], bus: Bus | None) -> int:
    left = sum([await connections[name].fetchval(_WAITING) for name in SERVICES])
    applied = [row for name in SERVICES for row in await connections[name].fetch(_APPLIED)]
    ends: Mapping[TopicPartition, int]
    if bus is None:
        ends = {TopicPartition(topic, part): end for topic, part, end in await connections["bus"].fetch(_ENDS)}
    else:
        ends = await bus.end_offsets({TopicPartition(topic, part) for topic, part, _ in applied})
    return int(left + sum(ends[TopicPartition(topic, part)] - offset for topic, part, offset in applied))


def _dsn(url: str) -> str:
    return url.replace("+asyncpg", "")
