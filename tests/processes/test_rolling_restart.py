"""All replicas of all services are replaced under load: nobody notices who tries twice, nothing is lost or doubled."""

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from random import Random
from uuid import uuid4

import httpx
import pytest

from deploy.demo.processes import SERVE, free_port
from shared.bus.kafka import opened_admin
from shared.bus.kafka_topics import arrange_topics
from tests.flows.company import process, stage
from tests.processes.site import SERVICES, Process, Site
from tests.system_caller import Caller, Json, until

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.timeout(400)]

CLIENTS = 6
DEALS_EACH = 3
STAGES = ("first", "second", "third")
PROCESS = process("load", *(stage(code) for code in STAGES))
SEED = 20261125

_MOVES = """
    SELECT deal_id::text, version, convert_from(value, 'UTF8')::jsonb->>'move_id' FROM deal_history
    WHERE headers::jsonb->>'ce_type' = 'pipeline.deal.moved.v1'
"""


class Load:
    """Clients that move deals and read numbers; each request may be tried twice, no more."""

    def __init__(self, site: Site, url: str) -> None:
        self.moved: list[tuple[str, int, str]] = []
        self.tried_again: Counter[str] = Counter()
        self.asked = 0
        self._site = site
        self._url = url
        self._over = False

    async def prepare(self, caller: Caller) -> list[str]:
        await caller.post("/pipeline/v1/processes", PROCESS)
        body = {"name": "Load", "process": "load", "owner": {"external_id": "ann"}}
        return [(await caller.post("/pipeline/v1/deals", body))["id"] for _ in range(CLIENTS * DEALS_EACH)]

    @contextlib.asynccontextmanager
    async def running(self, deals: list[str]) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                own = deals[number * DEALS_EACH :][:DEALS_EACH]
                group.create_task(self._client(Random(f"{SEED} {number}"), own))
            group.create_task(self._reader())
            try:
                yield
            finally:
                self._over = True

    async def _client(self, chance: Random, deals: list[str]) -> None:
        async with self._site.caller(self._url) as caller:
            while not self._over:
                deal = chance.choice(deals)
                path, body = f"/pipeline/v1/deals/{deal}/moves", {"to_stage": chance.choice(STAGES)}
                answer = await self._asked_twice(caller, "POST", path, body, idempotency_key=str(uuid4()))
                assert answer.status_code in (201, 409), answer.text
                if answer.status_code == 201:
                    move: Json = answer.json()["move"]
                    self.moved.append((deal, int(move["version"]), move["id"]))
                await asyncio.sleep(0.02)

    async def _reader(self) -> None:
        async with self._site.caller(self._url) as caller:
            while not self._over:
                for path in ("/kpi/v1/definitions", "/goals/v1/goals", "/notify/v1/rules", "/pipeline/v1/deals"):
                    answer = await self._asked_twice(caller, "GET", path, None)
                    assert answer.status_code == 200, answer.text
                await asyncio.sleep(0.05)

    async def _asked_twice(
        self, caller: Caller, method: str, path: str, body: Json | None, **headers: str
    ) -> httpx.Response:
        self.asked += 1
        with contextlib.suppress(httpx.TransportError):
            answer = await caller.ask(method, path, body, **headers)
            if answer.status_code < 500:
                return answer
            self.tried_again[f"{answer.status_code} {answer.json()['code']}"] += 1
            await asyncio.sleep(float(answer.headers.get("retry-after", 0.5)))
            return await caller.ask(method, path, body, **headers)
        self.tried_again["connection"] += 1
        return await caller.ask(method, path, body, **headers)

    async def progress(self, moves: int) -> None:
        wanted = len(self.moved) + moves

        async def come() -> bool:
            return len(self.moved) >= wanted

        await until(come, 60)


async def test_replacing_all_replicas_under_load_is_not_noticed(site: Site, kafka_servers: list[str]) -> None:
    prefix = f"{site.name}-"
    async with opened_admin(kafka_servers) as admin:
        await arrange_topics(admin, prefix=prefix)
    site.bus_url = f"kafka://{','.join(kafka_servers)}?prefix={prefix}"
    site.make_all()
    port = free_port(None)
    peers = {f"{name.upper()}_URL": f"http://127.0.0.1:{port}" for name in SERVICES}
    replicas = {(name, number): site.process(name, number, **peers) for name in SERVICES for number in (1, 2)}
    for replica in replicas.values():
        replica.start()
    gateway = site.gateway(port, **{name: f"{replicas[name, 1].url},{replicas[name, 2].url}" for name in SERVICES})
    gateway.start()
    await until(lambda: _all_ready(gateway), 120)
    load = Load(site, gateway.url)
    async with site.caller(gateway.url) as admin_caller:
        deals = await load.prepare(admin_caller)
    async with load.running(deals):
        for number in (1, 2):
            await load.progress(20)
            await asyncio.gather(*(_replaced(replicas[name, number], f"{name}-{number}") for name in SERVICES))
            await until(lambda: _all_ready(gateway), 60)
        await load.progress(20)
    await _accounted(site, gateway, load)
    gateway.send(signal.SIGTERM)
    assert await gateway.ended(10) == 0


async def _replaced(replica: Process, name: str) -> None:
    replica.send(signal.SIGTERM)
    assert await replica.ended(10) == 0, name
    replica.start()
    await replica.ready()


async def _all_ready(gateway: Process) -> bool:
    status, told = await gateway.readiness()
    return status == 200 and all(
        service["replicas"] == {"known": 2, "ready": 2} for service in told["services"].values()
    )


async def _accounted(site: Site, gateway: Process, load: Load) -> None:
    """Every acknowledged move is in history once, nothing else is, and kpi has counted exactly that."""
    history = [(deal, int(version), move) for deal, version, move in site.rows("pipeline", _MOVES)]
    assert Counter(history) == Counter(load.moved), load.tried_again
    assert len(load.moved) >= 60
    async with site.caller(gateway.url) as caller:
        # Making a deal is an entry, too.
        wanted = len(load.moved) + CLIENTS * DEALS_EACH
        await until(lambda: _entered(caller, wanted), 60)
    # The command line finds the databases beside the one that is named.
    site.make_named_database()
    code, said = await _verify(site)
    assert code == 0, said
    assert said.strip().endswith(" cells equal"), said


async def _entered(caller: Caller, wanted: int) -> bool:
    entries = await caller.value("stage_entries", scope="org", process="load")
    assert int(entries["value"]) <= wanted
    return int(entries["value"]) == wanted


async def _verify(site: Site) -> tuple[int, str]:
    environment = {**os.environ, "DATABASE_URL": site.cluster.url(site.name), "BUS_URL": site.bus_url}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVE, "kpi", "verify", "--data-dir", str(site.folder / "data"),
        env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()
