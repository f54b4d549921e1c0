"""Moves of one client while a file comes in and is counted, against the same client alone."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.backlog import worked_off
from bench.databases import url_of
from bench.load import Load, closed_loop, one_client, summary
from bench.report import Row
from bench.scenarios import DEALS, move_requests
from bench.server import Served, deal_rows, import_rows, open_deals

Request = Callable[[int, int], bytes]


async def measure(server: Served, data_dir: Path, seconds: float, rows: int) -> list[Row]:
    """The file has `rows` of two events; both rates are moves a second, and the latencies are those beside it."""
    await import_rows(server.api, deal_rows(DEALS, "beside", closed=False))
    request = move_requests(server, await open_deals(server.api, "bench"))(1)
    await worked_off(partial(url_of, data_dir))
    alone = await closed_loop(server.port, 1, seconds, request)
    await worked_off(partial(url_of, data_dir))
    beside, rate = await _while_importing(server, rows, request)
    await worked_off(partial(url_of, data_dir))
    refused = f" ({beside.refused} refused)" if beside.refused else ""
    what = f"move over HTTP, 1 client, beside an import of {rate:,.0f} rows/s{refused}"
    limit = f"the same alone (p50 {alone.p50:.1f}, p99 {alone.p99:.1f} ms)"
    return [Row(what, beside.per_second, limit, alone.per_second, None, beside.p50, beside.p99)]


async def _while_importing(server: Served, rows: int, request: Request) -> tuple[Load, float]:
    """Return the client's load until the file is in, and the rows a second of the file."""
    content = deal_rows(rows, "beside-file", closed=True)
    began = time.perf_counter()
    coming = asyncio.create_task(import_rows(server.api, content))
    times, refused = await one_client(server.port, 0, lambda: not coming.done(), request)
    await coming
    seconds = time.perf_counter() - began
    return summary(times, seconds, refused), rows / seconds
