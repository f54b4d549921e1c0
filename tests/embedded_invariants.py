"""What must hold in the databases of the embedded mode when everything has come to rest (I1 to I5, I11, I12)."""

import asyncio
import time
from typing import Any

from tests.embedded_system import System

SERVICES = ("pipeline", "kpi", "goals", "notify")
REST_SECONDS = 60.0
STREAMS = {"deal": "pipeline.deals.v1", "customer": "pipeline.customers.v1"}

_NOT_DENSE = """
    SELECT h.{name}_id::text, min(h.version), max(h.version), count(*), max(e.version)
    FROM {name}_history AS h LEFT JOIN {name} AS e ON e.id = h.{name}_id
    GROUP BY h.{name}_id HAVING min(h.version) <> 1 OR max(h.version) <> count(*)
                             OR max(h.version) IS DISTINCT FROM max(e.version)
"""
_WITHOUT_HISTORY = "SELECT id::text FROM {name} WHERE id NOT IN (SELECT {name}_id FROM {name}_history)"
_TOLD = "SELECT headers::jsonb->>'ce_id' FROM {name}_history"
_SENT = "SELECT DISTINCT headers::jsonb->>'ce_id' FROM bus_log WHERE topic = $1"
# Duplicates may come at any time; what is new of a key comes in the order of its versions.
_OUT_OF_ORDER = """
    SELECT key, version, before FROM (
        SELECT key, version, lag(version) OVER (PARTITION BY key ORDER BY off) AS before FROM (
            SELECT key, (headers::jsonb->>'ce_sequence')::bigint AS version, min(off) AS off
            FROM bus_log WHERE topic = $1 GROUP BY 1, 2) AS first_occurrence) AS in_order
    WHERE version < before
"""
_PRESENT = "SELECT '{name}:' || id, version FROM {name}"
_COUNTED = """
    SELECT stream, version FROM entity_state JOIN generation ON generation.id = entity_state.generation
    WHERE generation.state = 'active' AND stream LIKE $1
"""
_HEARD = "SELECT stream, version FROM stream_position WHERE grp = 'notify-deals'"
_WAITING = {
    "outbox": "SELECT count(*) FROM outbox",
    "parked": "SELECT count(*) FROM parked_message",
    "dead letters": "SELECT count(*) FROM dead_letter",
}


async def broken(system: System, *, log_elsewhere: bool = False) -> dict[str, Any]:
    """Return everything that does not hold now, by its name; empty when all is well and at rest.

    With `log_elsewhere` (on Kafka) nothing is asked of the log itself.
    """
    found: dict[str, Any] = {}
    for name, topic in STREAMS.items():
        found |= await _history(system, name)
        if not log_elsewhere:
            found |= await _log(system, name, topic)
    deals = dict(await system.rows("pipeline", _PRESENT.format(name="deal")))
    customers = dict(await system.rows("pipeline", _PRESENT.format(name="customer")))
    counted = dict(await system.rows("kpi", _COUNTED, "deal:%"))
    found["kpi: deals"] = deals.items() ^ counted.items()
    found["kpi: customers"] = customers.items() ^ dict(await system.rows("kpi", _COUNTED, "customer:%")).items()
    found["notify: deals"] = deals.items() ^ dict(await system.rows("notify", _HEARD)).items()
    for service in SERVICES:
        for what, statement in _WAITING.items():
            ((waiting,),) = await system.rows(service, statement)
            found[f"{service}: {what}"] = waiting
    if not log_elsewhere:
        found |= await _lag(system)
    return {what: wrong for what, wrong in found.items() if wrong}


async def _lag(system: System) -> dict[str, Any]:
    found: dict[str, Any] = {}
    ends = {(topic, part): end for topic, part, end in await _partitions(system)}
    for service in SERVICES:
        offsets = await system.rows(service, "SELECT grp, topic, part, next_off FROM consumer_offset")
        found[f"{service}: lag"] = [
            (group, topic, part, ends[topic, part] - offset)
            for group, topic, part, offset in offsets
            if offset != ends[topic, part]
        ]
    return found


async def at_rest(system: System, within: float = REST_SECONDS, *, log_elsewhere: bool = False) -> None:
    """Wait until nothing is on its way any more; fail with what is broken after `within` seconds."""
    deadline = time.monotonic() + within
    while wrong := await broken(system, log_elsewhere=log_elsewhere):
        assert time.monotonic() < deadline, wrong
        await asyncio.sleep(0.2)


async def _history(system: System, name: str) -> dict[str, Any]:
    return {
        f"{name}: versions": await system.rows("pipeline", _NOT_DENSE.format(name=name)),
        f"{name}: without history": await system.rows("pipeline", _WITHOUT_HISTORY.format(name=name)),
    }


async def _log(system: System, name: str, topic: str) -> dict[str, Any]:
    told = {row for (row,) in await system.rows("pipeline", _TOLD.format(name=name))}
    sent = {row for (row,) in await system.rows("bus", _SENT, topic)}
    return {
        f"{name}: never sent": told - sent,
        f"{name}: sent but not in history": sent - told,
        f"{name}: out of order": await system.rows("bus", _OUT_OF_ORDER, topic),
    }


async def _partitions(system: System) -> list[tuple[Any, ...]]:
    return await system.rows("bus", "SELECT topic, part, next_off FROM bus_partition")
