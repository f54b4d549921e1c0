"""A real HTTP receiver on the loopback: it answers as told and remembers every request."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
from standardwebhooks import Webhook


@dataclass(frozen=True)
class Received:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def verified(self, secret: str) -> dict[str, object]:
        """Return the body after the library has checked the signature."""
        document: dict[str, object] = Webhook(secret).verify(self.body, self.headers)
        return document


@dataclass(frozen=True)
class Answer:
    """What to answer; `hang` seconds go by before."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    hang: float = 0


class Receiver:
    """Answers 204, or what `script` says first."""

    def __init__(self) -> None:
        self.script: deque[Answer] = deque()
        self.requests: list[Received] = []
        self.port = 0
        self._arrived = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/sales?team=east"

    async def wait_for(self, count: int, timeout: float = 10) -> list[Received]:
        async with self._arrived:
            await asyncio.wait_for(self._arrived.wait_for(lambda: len(self.requests) >= count), timeout)
        return self.requests

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().split("\r\n")
                method, path, _ = first.split(" ")
                headers = {
                    name.lower(): told.strip() for name, _, told in (line.partition(":") for line in lines if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                await self._note(Received(method, path, headers, body))
                await self._answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            # The client hung up, or the test is over.
            return
        finally:
            writer.close()

    async def _note(self, request: Received) -> None:
        async with self._arrived:
            self.requests.append(request)
            self._arrived.notify_all()

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        answer = self.script.popleft() if self.script else Answer()
        await asyncio.sleep(answer.hang)
        lines = [
            f"HTTP/1.1 {answer.status} Told",
            "content-length: 0",
            *(f"{k}: {v}" for k, v in answer.headers.items()),
        ]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await writer.drain()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()


def read(body: bytes) -> dict[str, object]:
    document: dict[str, object] = msgspec.json.decode(body)
    return document
