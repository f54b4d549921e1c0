"""An end for every await, whatever the client does that is awaited."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from shared.bus.kafka_faults import KafkaUnavailable

T = TypeVar("T")


async def within(what: str, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns, or raise what it raises, within `seconds`; raises KafkaUnavailable after that.

    In a task of its own: some awaits of aiokafka swallow a cancellation and go on, and some end in one that nobody
    asked for, which must not pass for ours.
    """
    task = asyncio.create_task(work)
    task.add_done_callback(retrieve)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        task.cancel()
    if not task.done():
        raise KafkaUnavailable(f"{what}: no answer within {seconds:g} s")
    if task.cancelled():
        raise KafkaUnavailable(f"{what}: cancelled within the client")
    return task.result()


def retrieve(done: "asyncio.Future[Any]") -> None:
    """Nobody may be waiting for it any more; its error is not news then."""
    if done.done() and not done.cancelled():
        done.exception()
