"""Replicas share the work, take it over from the dead, and end in order when they are asked to."""

import asyncio
import signal
import time

import pytest

from tests.processes.site import Process, Site
from tests.system_caller import Caller, Json, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SHARE_SECONDS = 30.0


async def test_replicas_share_partitions_and_end_in_order(site: Site) -> None:
    site.make_all()
    first, second, third = (site.process("kpi", number) for number in (1, 2, 3))
    first.start()
    second.start()
    await asyncio.gather(first.ready(), second.ready())
    await until(lambda: _shares([first, second], [7, 8]), SHARE_SECONDS)
    third.start()
    await third.ready()
    await until(lambda: _shares([first, second, third], [5, 5, 5]), SHARE_SECONDS)

    second.send(signal.SIGKILL)
    await second.ended(10)
    await until(lambda: _shares([first, third], [7, 8]), SHARE_SECONDS)

    async with site.caller(first.url) as caller, caller.stream("/kpi/v1/stream") as events:
        await events.opened()
        began = time.monotonic()
        first.send(signal.SIGTERM)
        await until(lambda: _draining(first), 5)
        # Still answered while the balancers look away, and told to come by another connection.
        late = await first.ask("/livez")
        assert late is not None
        assert (late.status_code, late.headers["connection"]) == (200, "close")
        assert await first.ended(10) == 0
        assert time.monotonic() - began < 10
        with pytest.raises(EOFError):
            await events.rest()
    await until(lambda: _shares([third], [15]), SHARE_SECONDS)
    assert not first.lines("task_did_not_stop")

    third.send(signal.SIGTERM)
    await until(lambda: _draining(third), 5)
    third.send(signal.SIGTERM)
    assert await third.ended(5) == 128 + signal.SIGTERM


async def test_what_is_stuck_is_ended_within_ten_seconds(site: Site) -> None:
    site.make_all()
    goals = site.process("goals", DRAIN_SECONDS="60")
    goals.start()
    await goals.ready()
    began = time.monotonic()
    goals.send(signal.SIGTERM)
    assert await goals.ended(15) == 1
    assert time.monotonic() - began >= 9
    # It shows where it was.
    assert "most recent call first" in goals.log()


async def test_the_relay_of_a_killed_owner_is_taken_over(site: Site) -> None:
    site.make_all()
    replicas = [site.process("pipeline", number) for number in (1, 2)]
    for replica in replicas:
        replica.start()
    await asyncio.gather(*(replica.ready() for replica in replicas))
    async with site.caller(replicas[0].url) as caller:
        deal = await _deal(caller)
    await until(lambda: _relayed(site, deal["id"], 1))
    sent = [await replica.metric('outbox_published_total{service="pipeline"}') for replica in replicas]
    # One sends, the other stands by.
    assert min(sent) == 0 < max(sent), sent
    owner, other = sorted(replicas, key=lambda replica: -sent[replicas.index(replica)])

    async with site.caller(other.url) as caller:
        owner.send(signal.SIGKILL)
        for number in range(5):
            await caller.ask("PATCH", f"/pipeline/v1/deals/{deal['id']}", {"name": f"Again {number}"}, if_match="*")
    await owner.ended(10)
    await until(lambda: _relayed(site, deal["id"], 6), SHARE_SECONDS)
    assert await other.metric('outbox_published_total{service="pipeline"}') >= 5
    assert site.rows("pipeline", "SELECT count(*) FROM outbox") == [["0"]]


async def _shares(replicas: list[Process], wanted: list[int]) -> bool:
    return sorted(replica.owned("kpi") or 0 for replica in replicas) == wanted


async def _draining(process: Process) -> bool:
    status, told = await process.readiness()
    return (status, told.get("status")) == (503, "draining")


async def _deal(caller: Caller) -> Json:
    body = {"name": "First", "process": "standard", "owner": {"external_id": "ann"}}
    made: Json = await caller.post("/pipeline/v1/deals", body)
    return made


async def _relayed(site: Site, deal_id: str, versions: int) -> bool:
    """Each version of the deal is in the log, in order; a kill may have sent one of them twice."""
    statement = (
        "SELECT version FROM (SELECT (headers::jsonb->>'ce_sequence')::bigint AS version, min(off) AS off FROM bus_log "
        f"WHERE topic = 'pipeline.deals.v1' AND key LIKE '%{deal_id}%' GROUP BY 1) AS first ORDER BY off"
    )
    return [int(version) for (version,) in site.rows("bus", statement)] == list(range(1, versions + 1))
