"""The write batcher: concurrent requests share one transaction; who comes first never waits for others to come."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

from shared.db.errors import is_outcome_unknown

C = TypeVar("C")
R = TypeVar("R")

LARGEST_BATCH = 64
WRITERS = 2
# A batch that lasts longer than usual waits for somebody's lock: then the others go on without it.
PATIENCE_SECONDS = 0.05


class Overloaded(Exception):  # noqa: N818 - the name of the fact
    """More commands wait than the batcher accepts; the caller may come back after `retry_after` seconds."""

    retry_after = 1


@dataclass(slots=True)
class _Waiting(Generic[C, R]):
    key: Hashable
    command: C
    result: "asyncio.Future[R]"


class WriteBatcher(Generic[C, R]):
    """Hands whatever waits (1..64 commands) to `apply`, never two batches with the same key in flight.

    While a batch is in flight the next one fills: one of twenty costs hardly more than one of ten. A further writer
    begins beside it only when that batch is full, or when the one in flight is held up.

    `apply` returns one result or exception for each command, in order. When it raises, the commands of that batch are
    applied one by one, so that one bad command cannot fail its neighbours; but not when nobody knows whether the batch
    was committed: then all its callers are told so. A cancelled caller never cancels its batch.
    """

    def __init__(
        self,
        apply: Callable[[Sequence[C]], Awaitable[Sequence[R | Exception]]],
        *,
        writers: int = WRITERS,
        largest_queue: int = 2048,
    ) -> None:
        self._apply = apply
        self._writers = writers
        self._largest_queue = largest_queue
        self._queue: deque[_Waiting[C, R]] = deque()
        self._busy: set[Hashable] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._fills_until = 0.0

    async def submit(self, key: Hashable, command: C) -> R:
        """Return what `apply` made of `command`; raises its exception, or Overloaded when the queue is full."""
        if len(self._queue) >= self._largest_queue:
            raise Overloaded
        waiting: _Waiting[C, R] = _Waiting(key, command, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._start_writers()
        # Only this caller waits for it: a cancelled one cancels its result, and the batch does not look at that.
        return await waiting.result

    def _start_writers(self) -> None:
        loop = asyncio.get_running_loop()
        while len(self._running) < self._writers and not self._is_filling(loop.time()):
            batch = self._take_batch()
            if not batch:
                return
            task = loop.create_task(self._write(batch))
            self._running.add(task)
            task.add_done_callback(self._finished)
            self._fills_until = loop.time() + PATIENCE_SECONDS
            # A little later than that: timers may come early.
            loop.call_at(self._fills_until + 0.005, self._start_writers)

    def _is_filling(self, now: float) -> bool:
        return bool(self._running) and len(self._queue) < LARGEST_BATCH and now < self._fills_until

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        # What is still in flight has been there for longer.
        self._fills_until = 0.0
        self._start_writers()

    def _take_batch(self) -> list[_Waiting[C, R]]:
        """Take the oldest commands whose keys are free; those behind a busy key keep their place and order."""
        batch: list[_Waiting[C, R]] = []
        left: deque[_Waiting[C, R]] = deque()
        held = set(self._busy)
        while self._queue and len(batch) < LARGEST_BATCH:
            waiting = self._queue.popleft()
            (left if waiting.key in held else batch).append(waiting)
            held.add(waiting.key)
        left.extend(self._queue)
        self._queue = left
        self._busy.update(waiting.key for waiting in batch)
        return batch

    async def _write(self, batch: list[_Waiting[C, R]]) -> None:
        try:
            await self._settle(batch)
        finally:
            self._busy.difference_update(waiting.key for waiting in batch)
            # Only when the process ends in the middle are there callers left without an answer.
            for waiting in batch:
                waiting.result.cancel()

    async def _settle(self, batch: list[_Waiting[C, R]]) -> None:
        try:
            results = await self._apply([waiting.command for waiting in batch])
        except Exception as error:  # noqa: BLE001 - every exception belongs to the callers
            if len(batch) > 1 and not is_outcome_unknown(error):
                for waiting in batch:
                    await self._settle([waiting])
                return
            results = [error] * len(batch)
        if len(results) != len(batch):
            # It may have been committed: nobody may repeat it, and nobody knows whose answer is missing.
            results = [ValueError(f"{len(results)} results for {len(batch)} commands")] * len(batch)
        for waiting, result in zip(batch, results, strict=True):
            _resolve(waiting.result, result)

    async def drain(self) -> None:
        """Wait until nothing is queued or being written."""
        while self._running:
            await asyncio.wait(self._running)

    async def __aenter__(self) -> "WriteBatcher[C, R]":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.drain()


def _resolve(future: "asyncio.Future[R]", result: R | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
        # A cancelled caller never looks at its result: that must not be logged as an error nobody saw.
        future.exception()
    else:
        future.set_result(result)
