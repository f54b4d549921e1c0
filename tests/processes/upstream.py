"""A service as the gateway sees it, byte by byte: what it gets is kept, what it answers is told by the test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

READY = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@dataclass
class Got:
    """One request: its head as it came, and its body as far as it has come."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytearray = field(default_factory=bytearray)

    def header(self, name: str) -> list[str]:
        return [value for known, value in self.headers if known == name]


Answer = Callable[[Got, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Upstream:
    """Always ready; every other request is noted and answered by `answer`, after which the connection is closed."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.answer: Answer = answered
        self.port = 0
        self.gone = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
            told = [line.partition(":") for line in head[1:] if line]
            got = Got(method, target, [(name.lower(), value.strip()) for name, _, value in told])
            if target == "/readyz":
                writer.write(READY)
                await writer.drain()
            else:
                self.got.append(got)
                await self.answer(got, reader, writer)
        writer.close()
        self.gone.set()


async def answered(got: Got, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read the body, then answer 200."""
    await read_body(got, reader)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")
    await writer.drain()


async def silent(_got: Got, _reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Close the connection without a word, as a process that is killed does."""


async def read_body(got: Got, reader: asyncio.StreamReader) -> None:
    if length := got.header("content-length"):
        got.body += await reader.readexactly(int(length[0]))
    while got.header("transfer-encoding"):
        size = int(await reader.readline(), 16)
        got.body += (await reader.readexactly(size + 2))[:-2]
        if size == 0:
            return


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    made = Upstream()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
