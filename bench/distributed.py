"""The distributed mode on this machine's cores: its limit and what each process takes, by the number of replicas."""

import asyncio
import time
from functools import partial
from pathlib import Path

from bench import end_to_end
from bench.backlog import worked_off
from bench.databases import url_of
from bench.load import closed_loop
from bench.processes import cpu_between, usage_below
from bench.report import Share, Timing
from bench.scenarios import DEALS, move_requests
from bench.server import Served, deal_rows, import_rows, open_deals, served_distributed
from deploy.running import running_on
from shared.bus.opening import open_bus
from shared.bus.protocol import Bus

CLIENTS = 32
IDLE_SECONDS = 5.0


async def embedded_share(served_one: Served, data_dir: Path, seconds: float) -> Share:
    """The same for the embedded mode, all services in one process."""
    return await _share(served_one, data_dir, None, "embedded", seconds)


async def replicas(data_dir: Path, count: int, seconds: float, rates: tuple[int, ...]) -> tuple[Share, list[Timing]]:
    """Run `count` replicas of each service; return the limit, and end to end at `rates` moves a second.

    Raises LocalKafkaError where no broker can be had.
    """
    mode = f"distributed, {count} of each"
    async with served_distributed(data_dir, count) as ours:
        running = running_on(data_dir)
        if running is None:
            message = "the distributed mode does not say where it runs"
            raise RuntimeError(message)
        bus = await open_bus(running.bus_url)
        try:
            share = await _share(ours, data_dir, bus, mode, seconds)
            timings: list[Timing] = []
            if rates:
                async with end_to_end.prepared(ours, data_dir) as stage:
                    for rate in rates:
                        await worked_off(partial(url_of, data_dir), bus)
                        timings.append(await end_to_end.paced(stage, mode, rate, seconds))
            return share, timings
        finally:
            await bus.close()


async def _share(ours: Served, data_dir: Path, bus: Bus | None, mode: str, seconds: float) -> Share:
    """Moves as fast as 32 clients can, and until everything that follows from them is done."""
    await import_rows(ours.api, deal_rows(DEALS, "share", closed=False))
    requests = move_requests(ours, await open_deals(ours.api, "bench"))(CLIENTS)
    await closed_loop(ours.port, CLIENTS, 2.0, requests)
    await worked_off(partial(url_of, data_dir), bus)
    quiet = usage_below(ours.pid)
    await asyncio.sleep(IDLE_SECONDS)
    before = usage_below(ours.pid)
    began = time.perf_counter()
    load = await closed_loop(ours.port, CLIENTS, seconds, requests)
    await worked_off(partial(url_of, data_dir), bus)
    lasted = time.perf_counter() - began
    after = usage_below(ours.pid)
    moves = load.per_second * seconds
    return Share(
        mode=mode,
        accepted=load.per_second,
        sustained=moves / lasted,
        p50=load.p50,
        p99=load.p99,
        cpu_us={name: used * 1e6 / moves for name, used in cpu_between(before, after).items()},
        idle_cores=sum(cpu_between(quiet, before).values()) / IDLE_SECONDS,
        peak_mib={name: used.peak_bytes / 2**20 for name, used in after.items()},
    )
