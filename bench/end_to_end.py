"""A move from when it was meant to be sent until it is accepted, readable in a KPI, and handed over as an alert.

Most moves are plain load. About ASKED_PER_SECOND of them belong to the process `watched`: for each of those, KPI is
asked with the move's consistency token until its answer contains it (readable), and a rule of notify sends an alert to
a receiver in a process of its own, which notes when it came (handed over; same machine, same clock).
"""

import asyncio
import itertools
import json
import math
import secrets
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.load import get
from bench.pace import Connections, Paced, open_loop
from bench.report import Percentiles, Timing
from bench.server import PROCESS, Served, deal_rows, import_rows, open_deals
from deploy.demo.api import Api, Json
from deploy.demo.processes import free_port, receiver

WATCHED = "watched"
LOAD_DEALS = 2000
WATCHED_DEALS = 100
ASKED_PER_SECOND = 5
WARM_UP_SECONDS = 2.0
# An overloaded system hands over late, not never.
PATIENCE_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Stage:
    """What the moves are played on: the deals of the load, the watched ones, and where alerts arrive."""

    served: Served
    deals: Sequence[str]
    watched: Sequence[str]
    receiver: Api


@asynccontextmanager
async def prepared(served: Served, folder: Path) -> AsyncIterator[Stage]:
    """Within the block: deals, the rule and its receiver are there."""
    api = served.api
    await api.post("/pipeline/v1/processes", PROCESS | {"code": WATCHED})
    await import_rows(api, deal_rows(LOAD_DEALS, "paced", closed=False))
    await import_rows(api, deal_rows(WATCHED_DEALS, "watched", closed=False), WATCHED)
    secret = f"whsec_{b64encode(secrets.token_bytes(32)).decode()}"
    port = free_port(None)
    async with receiver(port, secret, folder / "receiver.log"):
        url = f"http://127.0.0.1:{port}"
        told = {"kind": "webhook", "name": "bench", "url": f"{url}/alerts", "secret": secret}
        channel = await api.post("/notify/v1/channels", told)
        when = {"event": "deal_moved", "where": {"process": WATCHED}}
        rule = {"name": "watched", "when": when, "severity": "info", "channels": [channel["id"]]}
        await api.post("/notify/v1/rules", rule)
        there = Api(url, "nobody", "en")
        yield Stage(served, await open_deals(api, "bench"), await open_deals(api, WATCHED), there)
        await there.close()


async def paced(stage: Stage, mode: str, per_second: int, seconds: float, aims: Sequence[float] = ()) -> Timing:
    """Offer `per_second` moves for `seconds` behind a warm-up; `aims` in ms: KPI p50, KPI p99, alert p50."""
    connections = Connections(stage.served.port)
    every = max(1, per_second // ASKED_PER_SECOND)
    readable: dict[str, tuple[int, float]] = {}
    alerts_before = len(await stage.receiver.get("/alerts"))

    async def answered(move: Paced) -> None:
        if move.number % every == 0 and move.status == 201:
            token = json.loads(move.body)["consistency_token"]
            readable[token] = (move.intended_ns, await _readable(connections, stage.served.token, token))

    request = _requests(stage, every)
    moves = await open_loop(connections, per_second, seconds + WARM_UP_SECONDS, request, answered)
    arrived = await _arrived(stage.receiver, alerts_before, set(readable))
    await connections.close()
    first = min(move.intended_ns for move in moves)
    begin = first + int(WARM_UP_SECONDS * 1e9)
    counted = [move for move in moves if move.intended_ns >= begin]
    asked = {token: times for token, times in readable.items() if times[0] >= begin}
    accepted = [move for move in moves if move.status == 201]
    last = max(move.answered_ns for move in moves)
    return Timing(
        mode=mode,
        offered=per_second,
        accepted=len(accepted) / max(seconds + WARM_UP_SECONDS, (last - first) / 1e9),
        refused=len(moves) - len(accepted),
        lost=sum(token not in arrived or math.isinf(times[1]) for token, times in readable.items()),
        answer=Percentiles.of([(move.answered_ns - move.intended_ns) / 1e6 for move in counted]),
        kpi=Percentiles.of([(read - intended) / 1e6 for intended, read in asked.values()]),
        alert=Percentiles.of([(arrived[token] - asked[token][0]) / 1e6 for token in asked if token in arrived]),
        aims=tuple(aims),
    )


def _requests(stage: Stage, every: int) -> Callable[[int], bytes]:
    """Each deal goes to and fro between two stages; each `every`th move is one of a watched deal."""
    load, watched = itertools.cycle(stage.deals), itertools.cycle(stage.watched)

    def request(number: int) -> bytes:
        return stage.served.move(next(load if number % every else watched))

    return request


async def _readable(connections: Connections, bearer: str, token: str) -> float:
    """Return when KPI's answer contained the move (ns); infinity when it does not within the patience."""
    path = f"/kpi/v1/values?kpi=deals_created&scope=org&process={WATCHED}&consistency_token={token}"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        status, body = await connections.ask(get(path, bearer))
        if status == 200 and json.loads(body)["counted"]:
            return time.time_ns()
    return math.inf


async def _arrived(there: Api, behind: int, wanted: set[str]) -> dict[str, int]:
    """Return when the alert of each move came, by its token, waiting until all have come or the patience ends."""
    found: dict[str, int] = {}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not wanted <= found.keys() and time.monotonic() < deadline:
        entries: list[Json] = await there.get("/alerts", {"behind": str(behind)})
        behind += len(entries)
        for entry in entries:
            subject = entry["alert"]["data"]["subject"]
            found.setdefault(f"{subject['stream']}@{subject['version']}", entry["arrived_ns"])
        await asyncio.sleep(0.05)
    return found
