"""The embedded mode loses and doubles nothing: power cut under load (F23), PostgreSQL killed alone (F11), SIGTERM.

POWER_CUTS=50 cuts the power as often.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

import pytest

from tests.embedded_invariants import at_rest
from tests.embedded_system import System, alive
from tests.faults.embedded_load import Load
from tests.flows.company import FREE
from tests.flows.mixed_deals import COLUMNS, MAPPING, Mixture, written
from tests.services.notify.receiver import Receiver, receiving
from tests.system_caller import until

ROUNDS = int(os.environ.get("POWER_CUTS", "3"))
ROWS = 2000
SEED = 20260105

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240 + 20 * ROUNDS)]


@pytest.fixture
async def system(data_directory: Path) -> AsyncIterator[System]:
    made = System(data_directory)
    await made.start()
    yield made
    made.end()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


async def verified(system: System) -> None:
    code, said = await system.command("kpi", "verify")
    assert code == 0, said
    assert said.strip().endswith(" cells equal"), said


async def test_power_cuts_under_load_lose_and_double_nothing(system: System, receiver: Receiver) -> None:
    chance = Random(SEED)
    load = Load(system, receiver, SEED)
    await load.prepare()
    import_id = await begun_import(system)
    async with load.running():
        for _ in range(ROUNDS):
            await load.progress()
            await asyncio.sleep(chance.uniform(0.5, 2.5))
            system.cut_power()
            await system.start()
    await until(lambda: imported(system, import_id))
    await at_rest(system)
    await load.accounted()
    await verified(system)


async def begun_import(system: System) -> str:
    """A file that is still being read when the power goes."""
    async with system.caller() as admin:
        await admin.post("/pipeline/v1/processes", FREE)
        mixture = Mixture(admin, SEED, ("ann", "ben"), "cut")
        rows = [mixture.row(Random(f"{SEED} {number}"), number) for number in range(ROWS)]
        return await admin.upload("deals", written(COLUMNS, rows), MAPPING)


async def imported(system: System, import_id: str) -> bool:
    async with system.caller() as admin:
        state = await admin.get(f"/pipeline/v1/imports/{import_id}")
    assert state["status"] in ("running", "completed"), state
    assert state["status"] == "running" or (state["created"], state["rejected"]) == (ROWS, 0)
    return bool(state["status"] == "completed")


async def test_postgres_killed_under_load_comes_back_and_nothing_is_lost(system: System, receiver: Receiver) -> None:
    load = Load(system, receiver, SEED + 1)
    await load.prepare()
    async with load.running():
        for _ in range(2):
            await load.progress()
            postmaster = system.postmaster()
            os.kill(postmaster, signal.SIGKILL)
            await load.progress()
            assert system.postmaster() != postmaster
    # The server itself never went away: a caller saw a success, a refusal or 503, and no connection was broken off.
    assert load.statuses.keys() <= {201, 409, 503}, load.statuses
    assert load.statuses[503] > 0
    await at_rest(system)
    await load.accounted()
    await verified(system)


async def test_sigterm_ends_everything_within_ten_seconds_with_streams_open(system: System) -> None:
    async with system.caller() as admin, AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(admin.stream("/kpi/v1/stream", kpi="won_count", scope="org")),
            await stack.enter_async_context(admin.stream("/kpi/v1/stream")),
            await stack.enter_async_context(admin.stream("/notify/v1/stream")),
        ]
        for events in opened:
            await events.opened()
        processes = system.processes()
        began = time.monotonic()
        assert await system.stop(within=10) == 0
        assert time.monotonic() - began < 10
        for events in opened:
            with pytest.raises(EOFError):
                await events.rest()
    await until(lambda: ended(processes), 5)
    log = system.data_dir / "postgres.log"
    written = log.stat().st_size
    await system.start()
    begun = log.read_bytes()[written:].decode()
    assert "database system was shut down at" in begun
    assert "not properly shut down" not in begun
    assert await system.stop(within=10) == 0
    assert system.errors() == []


async def ended(processes: list[int]) -> bool:
    return not alive(processes)
