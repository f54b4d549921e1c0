"""The processes of the demonstration: the server under test, and the receiver of its webhooks."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.embedded import postgres_launch
from shared.http_client import HttpClient, HttpFailure

SERVE = "from deploy.command_line import main; main()"
START_SECONDS = 120.0
# Ten processes at once; and the first run of all fetches Kafka.
DISTRIBUTED_START_SECONDS = 600.0


class DemoFailure(Exception):  # noqa: N818 - the name of the fact
    """The demonstration cannot go on; the message says why."""


def free_port(wanted: int | None) -> int:
    """Return `wanted` when nobody listens there, otherwise a port that is free now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted or 0))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tied_to_us() -> list[str]:
    """Return the launcher that lets the kernel stop a child when we die, however we do."""
    return [sys.executable, postgres_launch.__file__, str(os.getpid()), "tied", ""]


class Child:
    """A process in a group of its own, ended with everything it started."""

    def __init__(self, command: list[str], ready_url: str, log: Path, start_seconds: float = START_SECONDS) -> None:
        self._command = command
        self._start_seconds = start_seconds
        self._ready_url = ready_url
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; 0 while it does not run."""
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        """Start it and return once it answers; raises DemoFailure with the end of its log."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603, ASYNC220 - our own programs, and it returns at once
                [*tied_to_us(), *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        client = HttpClient()
        try:
            async with asyncio.timeout(self._start_seconds):
                while not await self._answers(client):
                    if self._process.poll() is not None:
                        raise DemoFailure(self._last_words())
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise DemoFailure(self._last_words()) from None
        finally:
            await client.close()

    async def _answers(self, client: HttpClient) -> bool:
        try:
            return (await client.request("GET", self._ready_url)).ok
        except HttpFailure:
            return False

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([f"{' '.join(self._command[-6:])} does not answer; its log ends:", *lines[-12:]])

    def kill(self) -> None:
        """End the whole group at once, as a power cut would (SIGKILL)."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    async def stop(self) -> None:
        """Ask it to end (SIGTERM), and insist after 30 s."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            await asyncio.to_thread(self._process.wait, 30)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def server(data_dir: Path, port: int, log: Path) -> Child:
    """Return the embedded mode as a child process."""
    command = [sys.executable, "-c", SERVE, "up", "--data-dir", str(data_dir), "--port", str(port)]
    return Child(command, f"http://127.0.0.1:{port}/readyz", log)


def distributed(data_dir: Path, port: int, log: Path, bus: str) -> Child:
    """Return the distributed mode, two replicas of each service, as a child process."""
    place = ["--data-dir", str(data_dir), "--port", str(port)]
    command = [sys.executable, "-m", "deploy.distributed", "--bus", bus, *place]
    return Child(command, f"http://127.0.0.1:{port}/readyz", log, DISTRIBUTED_START_SECONDS)


def receiver(port: int, secret: str, log: Path) -> Child:
    """Return the webhook receiver as a child process."""
    command = [sys.executable, "-m", "deploy.demo.receiver", "--port", str(port), "--secret", secret]
    return Child(command, f"http://127.0.0.1:{port}/alerts?behind=999999", log)
