"""Waits for what follows from our own work: a raw loop that shares the machine with it would be measured too slow."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg

SERVICES = ("pipeline", "kpi", "goals", "notify")

_WAITING = "SELECT count(*) FROM outbox"
_APPLIED = "SELECT topic, part, next_off FROM consumer_offset"
_ENDS = "SELECT topic, part, next_off FROM bus_partition"


async def worked_off(url_of: Callable[[str], str]) -> None:
    """Return once every outbox is empty and every consumer stands at the end of the log."""
    connections = {name: await asyncpg.connect(_dsn(url_of(name))) for name in (*SERVICES, "bus")}
    try:
        while True:
            if not await _left(connections):
                return
            await asyncio.sleep(0.1)
    finally:
        for connection in connections.values():
            await connection.close()


async def _left(connections: dict[str, Any]) -> int:
    left = sum([await connections[name].fetchval(_WAITING) for name in SERVICES])
    ends = {(topic, part): end for topic, part, end in await connections["bus"].fetch(_ENDS)}
    for name in SERVICES:
        left += sum(ends[topic, part] - applied for topic, part, applied in await connections[name].fetch(_APPLIED))
    return int(left)


def _dsn(url: str) -> str:
    return url.replace("+asyncpg", "")
