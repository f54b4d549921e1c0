"""How a process ends: asked once it ends in order, asked twice or stuck it ends at once."""

import asyncio
import faulthandler
import os
import signal
from collections.abc import Callable
from typing import Any

from shared.logging import get_logger
from shared.runtime.run import HttpServer

log = get_logger(__name__)

# Orchestrators wait 10 s; what has not come to its end by then is stuck.
LONGEST_SECONDS = 9.5


class Shutdown:
    """SIGTERM and SIGINT, from `listen` on."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    def listen(self) -> None:
        """Take both signals over; call it in the main thread, before anything that takes long."""
        running = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            running.add_signal_handler(number, self._signalled, number)

    def _signalled(self, number: int) -> None:
        if self.asked.is_set():
            os._exit(128 + number)
        log.info("ending", signal=signal.Signals(number).name)
        # A thread of C: it fires whatever the event loop is stuck in, and shows where.
        faulthandler.dump_traceback_later(LONGEST_SECONDS, exit=True)
        self.asked.set()


async def serve_until_asked(
    server: HttpServer,
    shutdown: Shutdown,
    *,
    working: "asyncio.Task[None] | None" = None,
    drain: Callable[[], None],
    drain_seconds: float,
    end: Callable[[], None] | None = None,
) -> None:
    """Serve until a signal, then drain: say so, go on serving until the balancers have seen it, then stop accepting.

    `end` is called then, to end what would last. Ends early, with its error, when `working` fails.
    """
    serving = asyncio.create_task(server.serve(), name="http")
    asked = asyncio.create_task(shutdown.asked.wait(), name="signal")
    watched: list[asyncio.Task[Any]] = [serving, asked, *([working] if working else [])]
    await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
    drain()
    if asked.done() and not serving.done():
        await asyncio.sleep(drain_seconds)
    asked.cancel()
    if end is not None:
        end()
    server.handle_exit(signal.SIGTERM, None)
    await serving
    if working is not None and working.done():
        working.result()
