"""The signal that wakes a loop: never lost, and never in the way of an end."""

import asyncio

import pytest

from shared.db.engine import Signal


async def test_a_signal_wakes_once_and_is_remembered() -> None:
    signal = Signal()
    assert await signal.wait(0.01) is False
    signal.set()
    signal.set()
    assert await signal.wait(0.01) is True
    assert await signal.wait(0.01) is False


async def test_a_cancellation_that_comes_with_the_signal_is_not_lost() -> None:
    signal = Signal()
    waiting = asyncio.create_task(signal.wait(10))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    signal.set()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_loop_that_is_woken_while_it_is_ended_ends() -> None:
    signal = Signal()

    async def loop() -> None:
        while True:
            await signal.wait(0.05)

    for pause in range(6):
        task = asyncio.create_task(loop())
        await asyncio.sleep(0.01)
        signal.set()
        for _ in range(pause):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=1)
        assert done == {task}, pause
