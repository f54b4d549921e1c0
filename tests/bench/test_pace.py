"""The open loop: latency counts from when a request was meant to leave."""

import asyncio
import itertools
from contextlib import suppress

from bench.pace import Connections, Paced, open_loop


async def test_a_stall_shows_in_every_request_that_was_meant_to_leave_meanwhile() -> None:
    stalled = asyncio.Event()
    handlers: set[asyncio.Task[None] | None] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                await stalled.wait()
                writer.write(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok")
        writer.close()
        await writer.wait_closed()

    async def nothing(_one: Paced) -> None:
        return

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    connections = Connections(server.sockets[0].getsockname()[1])
    asyncio.get_running_loop().call_later(0.5, stalled.set)
    moves = await open_loop(connections, 100, 0.2, lambda _number: b"GET / HTTP/1.1\r\n\r\n", nothing)
    assert [(move.number, move.status, move.body) for move in moves] == [(number, 201, b"ok") for number in range(20)]
    # The schedule went on while nobody answered.
    assert {later.intended_ns - earlier.intended_ns for earlier, later in itertools.pairwise(moves)} == {10_000_000}
    assert all(move.answered_ns - move.intended_ns >= 250_000_000 for move in moves)
    await connections.close()
    server.close()
    await asyncio.gather(*filter(None, handlers))
