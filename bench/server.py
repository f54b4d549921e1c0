"""What is under load, embedded or distributed: its process, a token, and what is set up over public HTTP."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.load import post
from deploy.demo.api import Api, Json
from deploy.demo.processes import DISTRIBUTED_START_SECONDS, Child, DemoFailure, free_port, server
from deploy.embedded.issuer import development_token

PROCESS: Json = {
    "code": "bench",
    "name": {"zh": "测速", "en": "Bench"},
    "stages": [
        {"code": code, "name": {"zh": code, "en": code}, "kind": kind, "win_probability": "0.50", "sla": None,
         "clock": "calendar", "tasks": [], "exit_criteria": [], "entry_criteria": [], "kpis": []}
        for code, kind in (("first", "open"), ("second", "open"), ("won", "won"), ("lost", "lost"))
    ],
    "moves": "any",
}  # fmt: skip
MAPPING: Json = {
    "process": "bench",
    "external_id": "id",
    "owner": "owner",
    "amount": {"column": "amount", "currency": "CNY"},
    "stages": [
        {"stage": "first", "at": "began"},
        {"stage": {"column": "end", "values": {"won": "won", "lost": "lost"}}, "at": "ended"},
    ],
}


@dataclass(frozen=True)
class Served:
    """A running server and the right to use it."""

    port: int
    token: str
    api: Api
    pid: int
    # Deals that stand in the second stage; all others stand in the first one.
    at_second: set[str] = field(default_factory=set)

    def move(self, deal: str) -> bytes:
        """Return the request that moves a deal to the one of two stages in which it does not stand."""
        goes_on = deal not in self.at_second
        (self.at_second.add if goes_on else self.at_second.discard)(deal)
        body = b'{"to_stage": "second"}' if goes_on else b'{"to_stage": "first"}'
        return post(f"/pipeline/v1/deals/{deal}/moves", self.token, body)


@asynccontextmanager
async def served(data_dir: Path) -> AsyncIterator[Served]:
    """Run the embedded mode on a durable disk within the block."""
    port = free_port(None)
    async with _entered(server(data_dir, port, data_dir / "server.log"), data_dir, port) as ours:
        yield ours


@asynccontextmanager
async def served_distributed(data_dir: Path, replicas: int) -> AsyncIterator[Served]:
    """Run the distributed mode (Kafka, `replicas` processes of each service, gateway) within the block."""
    port = free_port(None)
    place = ["--data-dir", str(data_dir), "--port", str(port), "--replicas", str(replicas)]
    command = [sys.executable, "-m", "deploy.distributed", *place]
    child = Child(command, f"http://127.0.0.1:{port}/readyz", data_dir / "server.log", DISTRIBUTED_START_SECONDS)
    async with _entered(child, data_dir, port) as ours:
        yield ours


@asynccontextmanager
async def _entered(child: Child, data_dir: Path, port: int) -> AsyncIterator[Served]:
    token = development_token(data_dir, "admin")
    async with child:
        api = Api(f"http://127.0.0.1:{port}", token, "en")
        await api.post("/pipeline/v1/processes", PROCESS)
        yield Served(port, token, api, child.pid)
        await api.close()


async def open_deals(api: Api, process: str) -> list[str]:
    """Return the ids of all open deals of a process."""
    ids: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        params = {"process": process, "status": "open", "limit": "200"} | ({"cursor": cursor} if cursor else {})
        page = await api.get("/pipeline/v1/deals", params)
        ids += [deal["id"] for deal in page["items"]]
        cursor = page["next_cursor"]
    return ids


def deal_rows(rows: int, prefix: str, *, closed: bool) -> bytes:
    """Return `rows` deals as NDJSON; with `closed` each has two dated entries, otherwise one."""
    lines: list[str] = []
    for number in range(rows):
        row: dict[str, Any] = {
            "id": f"{prefix}-{number}",
            "owner": f"rep-{number % 100}",
            "amount": f"{number % 9000 + 1000}.00",
            "began": f"2025-{number % 12 + 1:02}-{number % 28 + 1:02}",
        }
        if closed:
            row |= {"end": "won" if number % 3 else "lost", "ended": f"2026-{number % 10 + 1:02}-{number % 28 + 1:02}"}
        lines.append(json.dumps(row))
    return ("\n".join(lines) + "\n").encode()


async def import_rows(api: Api, content: bytes, process: str = "bench") -> Json:
    """Import rows into a process and wait until all are in; raises DemoFailure unless every row was taken."""
    job = await api.upload("deals", "bench.ndjson", content, MAPPING | {"process": process})
    while True:
        state: Json = await api.get(f"/pipeline/v1/imports/{job['id']}")
        if state["status"] == "completed" and state["rejected"] == 0:
            return state
        if state["status"] != "running":
            raise DemoFailure(str(state))
        await asyncio.sleep(0.02)
