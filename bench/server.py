"""The embedded mode under load: its process, a token, and what the scenarios need to set up over public HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.demo.api import Api, Json
from deploy.demo.processes import DemoFailure, free_port, server
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


@asynccontextmanager
async def served(data_dir: Path) -> AsyncIterator[Served]:
    """Run the embedded mode on a durable disk within the block."""
    token = development_token(data_dir, "admin")
    port = free_port(None)
    async with server(data_dir, port, data_dir / "server.log"):
        api = Api(f"http://127.0.0.1:{port}", token, "en")
        await api.post("/pipeline/v1/processes", PROCESS)
        yield Served(port, token, api)
        await api.close()


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


async def import_rows(api: Api, content: bytes) -> Json:
    """Import rows and wait until all are in; raises DemoFailure unless every row was taken."""
    job = await api.upload("deals", "bench.ndjson", content, MAPPING)
    while True:
        state: Json = await api.get(f"/pipeline/v1/imports/{job['id']}")
        if state["status"] == "completed" and state["rejected"] == 0:
            return state
        if state["status"] != "running":
            raise DemoFailure(str(state))
        await asyncio.sleep(0.02)
