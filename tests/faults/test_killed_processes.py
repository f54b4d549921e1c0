"""Real processes, really killed (F1, F2, F5), frozen (F4, F6), and killed again and again under load (F23)."""

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shared.db.faultpoints import KILLED
from tests.faults.toy import World, settle, until
from tests.faults.toy_process import WRITES

pytestmark = pytest.mark.slow


async def start(world: World, role: str, faultpoint: str | None = None) -> Process:
    """Start a process and wait until it works; it is armed then."""
    urls = [world.pipeline.url, world.kpi.url, world.bus._database.url]
    environment = {**os.environ, **({"FAULTPOINT": faultpoint} if faultpoint else {})}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.toy_process", role, *urls, env=environment, stdout=PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


async def end_of(process: Process) -> int:
    async with asyncio.timeout(60):
        await process.communicate()
    assert process.returncode is not None
    return process.returncode


@asynccontextmanager
async def running(world: World, role: str) -> AsyncIterator[Process]:
    process = await start(world, role)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await end_of(process)


@pytest.mark.parametrize("place", ["pipeline.commit:5", "pipeline.committed:12"])
async def test_the_writer_dies_before_it_can_answer_and_is_asked_again(world: World, place: str) -> None:
    """F1: the same idempotency keys, one change each."""
    assert await end_of(await start(world, "writer", place)) == KILLED
    assert await end_of(await start(world, "writer")) == 0
    await settle(world.relay(), world.consumer())
    assert len(await world.log()) == WRITES
    assert await world.broken() == set()


@pytest.mark.parametrize("place", ["bus.appended:1", "relay.sent:1", "relay.deleted:1"])
async def test_the_relay_dies_around_the_send(world: World, place: str) -> None:
    """F2: duplicates at most."""
    for number in range(60):
        await world.change(number % 8, number)
    assert await end_of(await start(world, "relay", place)) == KILLED
    assert await end_of(await start(world, "settle")) == 0
    assert await world.broken() == set()


@pytest.mark.parametrize("place", ["consumer.fetched:1", "consumer.commit:1", "consumer.committed:1"])
async def test_the_consumer_dies_around_its_commit(world: World, place: str) -> None:
    """F5: each effect once."""
    for number in range(60):
        await world.change(number % 8, number)
    assert await end_of(await start(world, "settle", place)) == KILLED
    assert await end_of(await start(world, "settle")) == 0
    assert await world.broken() == set()


async def test_who_was_frozen_is_replaced_and_does_no_harm_when_it_comes_back(world: World) -> None:
    """F4 and F6: SIGSTOP keeps the sockets open; the server gives the locks away after six seconds."""

    async def at_rest() -> bool:
        return not await world.broken()

    async with running(world, "run") as frozen:
        for number in range(40):
            await world.change(number % 8, number)
        await until(at_rest)
        frozen.send_signal(signal.SIGSTOP)
        async with running(world, "run"):
            for number in range(40):
                await world.change(number % 8, number + 100)
            await until(at_rest, 30)
            frozen.send_signal(signal.SIGCONT)
            for number in range(40):
                await world.change(number % 8, number + 200)
            await until(at_rest)
            await asyncio.sleep(2)
            assert await at_rest()


async def test_who_froze_within_its_transaction_gives_the_rows_away(world: World) -> None:
    """F6: the server ends a transaction that does nothing for ten seconds; what it had written is not there."""

    async def at_rest() -> bool:
        return not await world.broken()

    async with running(world, "slow") as frozen:
        assert frozen.stdout is not None
        for number in range(40):
            await world.change(number % 8, number)
        async with asyncio.timeout(30):
            while await frozen.stdout.readline() != b"in transaction\n":
                pass
        frozen.send_signal(signal.SIGSTOP)
        async with running(world, "run"):
            await until(at_rest, 60)
            frozen.send_signal(signal.SIGCONT)
            for number in range(40):
                await world.change(number % 8, number + 100)
            await until(at_rest, 30)
        # The thawed one works alone now.
        await world.change(1, 1)
        await until(at_rest, 60)


async def test_killed_again_and_again_under_load(world: World) -> None:
    """F23: everything that was committed is counted exactly once in the end."""
    chance = random.Random(20260105)
    written = 0

    async def write() -> None:
        nonlocal written
        while written < 400:
            await world.change(chance.randrange(30), written, f"request {written}")
            written += 1
            await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as group:
        writing = group.create_task(write())
        while not writing.done():
            async with running(world, "run"):
                await asyncio.sleep(chance.uniform(0.05, 0.8))
    await settle(world.relay(), world.consumer())
    assert await world.broken() == set()
