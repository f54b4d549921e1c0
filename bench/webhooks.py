"""Signed CRM webhooks: how many are stored and accepted a second, against an echo server that stores nothing."""

import asyncio
import json
import secrets
import statistics
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from pathlib import Path

import asyncpg

from bench.backlog import worked_off
from bench.databases import url_of
from bench.load import Load, closed_loop, post_with
from bench.report import Row
from bench.server import Served
from deploy.demo.processes import Child, DemoFailure, free_port
from services.pipeline.crm.standard_webhooks import sign

CLIENTS = 32
SOURCE = "bench-crm"


async def accepted(served: Served, data_dir: Path, seconds: float, rounds: int) -> list[Row]:
    """New messages from 32 clients; ours verifies, stores durably, and works them off meanwhile."""
    secret = f"whsec_{b64encode(secrets.token_bytes(32)).decode()}"
    source = {"kind": "standard-webhooks", "secret": secret, "mapping": {"process": "bench"}}
    await served.api.put(f"/pipeline/v1/sources/{SOURCE}", source)
    port = free_port(None)
    command = [sys.executable, "-m", "bench.echo", "--port", str(port)]
    loads: dict[str, list[Load]] = {"ours": [], "echo": []}
    async with Child(command, f"http://127.0.0.1:{port}/", data_dir / "echo.log"):
        for turn in range(rounds):
            request = _signed(secret, f"round-{turn}")
            loads["echo"].append(await closed_loop(port, CLIENTS, seconds, request))
            loads["ours"].append(await closed_loop(served.port, CLIENTS, seconds, request))
            await _processed(data_dir, sum(round(load.per_second * seconds) for load in loads["ours"]))
            await worked_off(partial(url_of, data_dir))
    rate = {name: statistics.median(load.per_second for load in some) for name, some in loads.items()}
    p50, p99 = (statistics.median(getattr(load, name) for load in loads["ours"]) for name in ("p50", "p99"))
    what = f"webhook stored and accepted, {CLIENTS} clients"
    return [Row(what, rate["ours"], "echo server, stores nothing", rate["echo"], 0.5, p50, p99)]


def _signed(secret: str, prefix: str) -> Callable[[int, int], bytes]:
    def request(client: int, number: int) -> bytes:
        name = f"{prefix}-{client}-{number}"
        data = {"external_id": name, "name": "Pumps for the harbour", "stage": "first", "owner": f"rep-{client}",
                "amount": {"amount": "128000.00", "currency": "CNY"}}  # fmt: skip
        body = json.dumps({"type": "deal.created", "timestamp": "2026-11-23T09:00:00Z", "data": data}).encode()
        seconds = str(int(time.time()))
        signature = sign(secret, name, seconds, body)
        headers = {"webhook-id": name, "webhook-timestamp": seconds, "webhook-signature": signature}
        return post_with(f"/pipeline/v1/webhooks/{SOURCE}", headers, body)

    return request


async def _processed(data_dir: Path, taken: int) -> None:
    """Return once every message is processed; raises DemoFailure when one that was accepted is not there."""
    connection = await asyncpg.connect(url_of(data_dir, "pipeline").replace("+asyncpg", ""))
    try:
        while True:
            if not await connection.fetchval("SELECT count(*) FROM webhook WHERE status = 'received'"):
                break
            await asyncio.sleep(0.1)
        there = await connection.fetchval("SELECT count(*) FROM webhook WHERE status = 'processed'")
    finally:
        await connection.close()
    if there < taken:
        raise DemoFailure(f"{taken} webhooks were accepted, {there} are processed")
