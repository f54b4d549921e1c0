"""A toy service on a real port, and a client of its event stream."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from shared.runtime.run import http_server


@dataclass(frozen=True)
class Received:
    """One event as it came; `event` is None for a bare id."""

    id: str | None
    event: str | None
    data: str | None
    comment: str | None = None


@contextlib.asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Serve `app` on a free port within the block and give its URL."""
    server = http_server(app, "127.0.0.1", 0)
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn tells by a flag
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await running


class Stream:
    """An open event stream."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self, timeout: float = 5) -> Received:
        """Return the next block of the stream, whatever it holds."""
        async with asyncio.timeout(timeout):
            fields: dict[str, str] = {}
            async for line in self._lines:
                if not line and fields:
                    break
                name, _, value = line.partition(": ")
                fields[name or "comment"] = value
            if not fields:
                raise EOFError
            comment = next((value for name, value in fields.items() if name.startswith("comment")), None)
            return Received(fields.get("id"), fields.get("event"), fields.get("data"), comment)

    async def event(self, timeout: float = 5) -> Received:
        """Return the next event, past comments."""
        while True:
            received = await self.next(timeout)
            if received.event is not None:
                return received

    async def silent(self, seconds: float) -> bool:
        """Tell whether no event comes for a while; the stream is of no use afterwards."""
        try:
            await self.event(seconds)
        except TimeoutError:
            return True
        return False


@contextlib.asynccontextmanager
async def listening(url: str, headers: Mapping[str, str]) -> AsyncIterator[Stream]:
    """Open a stream; within the block its first comment has come."""
    async with httpx.AsyncClient(timeout=30) as client, client.stream("GET", url, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        stream = Stream(response)
        await stream.next()
        yield stream
