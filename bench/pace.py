"""An open loop: requests leave by a fixed schedule, and latency counts from when each was meant to leave.

A closed loop waits for slow answers and so hides how many it should have sent meanwhile.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench.load import read_answer

LARGEST_POOL = 200


@dataclass(frozen=True, slots=True)
class Paced:
    """An answered request: when it was meant to leave and when its answer was there (ns of the machine's clock)."""

    number: int
    intended_ns: int
    answered_ns: int
    status: int
    body: bytes


class Connections:
    """Keep-alive connections to one port, opened as they are needed; beyond LARGEST_POOL a request waits for one."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()
        self._free = asyncio.Semaphore(LARGEST_POOL)

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send the bytes of a request; return status and body of its answer."""
        async with self._free:
            reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(request)
            answer = await read_answer(reader)
            self._idle.append((reader, writer))
            return answer

    async def close(self) -> None:
        for _, writer in self._idle:
            writer.close()
            await writer.wait_closed()


Answered = Callable[[Paced], Awaitable[None]]


async def open_loop(
    connections: Connections, per_second: float, seconds: float, request: Callable[[int], bytes], answered: Answered
) -> list[Paced]:
    """Send `per_second * seconds` requests on time, whatever the answers do; await `answered` behind each answer."""
    begin = time.time_ns()

    async def send(number: int, intended: int) -> Paced:
        status, body = await connections.ask(request(number))
        paced = Paced(number, intended, time.time_ns(), status, body)
        await answered(paced)
        return paced

    sending: list[asyncio.Task[Paced]] = []
    for number in range(int(per_second * seconds)):
        intended = begin + int(number * 1e9 / per_second)
        if (early := intended - time.time_ns()) > 0:
            await asyncio.sleep(early / 1e9)
        sending.append(asyncio.create_task(send(number, intended)))
    return await asyncio.gather(*sending)
