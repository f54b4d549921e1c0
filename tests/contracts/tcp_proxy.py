"""A TCP proxy that can become a black hole: nothing passes, and nothing is refused or reset."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_CHUNK = 65536


class Proxy:
    """Passes connections to its `port` on to a port of this machine."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=1)
        self._listening.setblocking(False)
        self._passing = asyncio.Event()
        self._passing.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._fillers: list[socket.socket] = []

    @property
    def port(self) -> int:
        return int(self._listening.getsockname()[1])

    async def fall_silent(self) -> None:
        """From now on open connections carry nothing, and new ones are not answered: their first packet is lost."""
        self._passing.clear()
        loop = asyncio.get_running_loop()
        # The system itself answers until its queue of connections that nobody accepts is full.
        while True:
            filler = socket.socket()
            filler.setblocking(False)
            self._fillers.append(filler)
            try:
                async with asyncio.timeout(0.3):
                    await loop.sock_connect(filler, ("127.0.0.1", self.port))
            except TimeoutError:
                return

    def go_on(self) -> None:
        """Let everything pass again, also what came in the meantime."""
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
        self._passing.set()

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._passing.wait()
            accepted, _ = await loop.sock_accept(self._listening)
            task = asyncio.create_task(self._join(accepted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _join(self, accepted: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=accepted)
        with suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
        writer.close()

    async def close(self) -> None:
        self.go_on()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listening.close()


@asynccontextmanager
async def proxied(target: int) -> AsyncIterator[Proxy]:
    """Run a proxy to a port of this machine within the block."""
    proxy = Proxy(target)
    serving = asyncio.create_task(proxy.serve())
    try:
        yield proxy
    finally:
        serving.cancel()
        await asyncio.wait({serving})
        await proxy.close()
