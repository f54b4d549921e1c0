"""The whole system from outside: the embedded mode as a child process, its command line, its HTTP and its databases."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from sqlalchemy.engine import make_url

from deploy.demo.processes import SERVE, free_port, tied_to_us
from deploy.embedded.issuer import issuer_of
from deploy.embedded.postgres import running_url
from shared.auth.development_issuer import DevelopmentIssuer
from shared.settings import Settings
from tests.system_caller import Caller

START_SECONDS = 90.0
# Sends what a killed sender had leased after three seconds instead of thirty.
IMPATIENT = {"DELIVERY_LEASE": "PT3S", "DELIVERY_TIMEOUT": "PT2S", "DELIVERY_BASE": "PT0.2S", "LOG_LEVEL": "WARNING"}


class System:
    """One data directory and, while it runs, the process that serves it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.port = free_port(None)
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = data_dir / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._issuer: DevelopmentIssuer | None = None

    async def start(self, **environment: str) -> None:
        """Start it and return once it is ready; the kernel ends it when we die."""
        self._process = process = self._spawn(environment)
        async with asyncio.timeout(START_SECONDS), httpx.AsyncClient(trust_env=False) as client:
            while not await _is_ready(client, f"{self.url}/readyz"):
                assert process.poll() is None, self.last_words()
                await asyncio.sleep(0.02)

    def _spawn(self, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-c", SERVE, "up", "--data-dir", str(self.data_dir), "--port", str(self.port)]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*tied_to_us(), *command],
                env={**os.environ, **IMPATIENT, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def processes(self) -> list[int]:
        """The server and everything that it started."""
        return [self.pid, *descendants(self.pid)]

    def postmaster(self) -> int:
        """PostgreSQL's first process."""
        (found,) = (pid for pid in _children(self.pid) if b"postgres\0-D" in _command_line(pid))
        return found

    def cut_power(self) -> None:
        """Kill -9 of the server AND its PostgreSQL: all stop at once, and none of them can do anything any more."""
        everybody = self.processes()
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in everybody:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        assert self._process is not None
        self._process.wait()

    async def ended(self, within: float = 60) -> int:
        """Wait until it has ended by itself, and return its exit code."""
        assert self._process is not None
        deadline = time.monotonic() + within
        while (code := self._process.poll()) is None:
            assert time.monotonic() < deadline, self.last_words()
            await asyncio.sleep(0.01)
        return code

    async def stop(self, within: float = 30) -> int:
        """Ask it to end (SIGTERM), and return its exit code."""
        os.kill(self.pid, signal.SIGTERM)
        return await self.ended(within)

    def end(self) -> None:
        """End it whatever its state; for the clean-up of a test."""
        if self._process is not None and self._process.poll() is None:
            self.cut_power()

    def last_words(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-4000:]

    def errors(self) -> list[str]:
        """What the server logged as an error; nothing of that kind belongs into an undisturbed run."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line for line in lines if '"level": "error"' in line or '"level":"error"' in line]

    async def command(self, *arguments: str) -> tuple[int, str]:
        """Run `salesgrain ARGUMENTS --data-dir ...`; return its exit code and what it printed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SERVE, *arguments, "--data-dir", str(self.data_dir),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        output, errors = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode() + (errors.decode() if process.returncode else "")

    def token(self, role: str, person: str | None = None) -> str:
        """The token that `salesgrain token` prints, without a process of its own for each."""
        if self._issuer is None:
            self._issuer = issuer_of(self.data_dir, Settings())
        return self._issuer.token(role, person=person)

    @asynccontextmanager
    async def caller(
        self, role: str = "admin", person: str | None = None, language: str = "en"
    ) -> AsyncIterator[Caller]:
        """A client with the rights of a role."""
        async with Caller(self.url, self.token(role, person), language) as caller:
            yield caller

    @asynccontextmanager
    async def database(self, name: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
        """A connection to one of the databases of the running server, beside it."""
        url = running_url(self.data_dir, name)
        assert url is not None
        dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        connection = await asyncpg.connect(dsn)
        try:
            yield connection
        finally:
            await connection.close()

    async def rows(self, database: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What one statement finds."""
        async with self.database(database) as connection:
            return [tuple(row) for row in await connection.fetch(statement, *values)]


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).is_success
    except httpx.HTTPError:
        return False


def alive(pids: list[int]) -> list[int]:
    """Those that still run; a zombie does not."""
    return [pid for pid in pids if _status(pid) not in (None, "Z", "X")]


def _status(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def descendants(pid: int) -> list[int]:
    """Every process that `pid` started, and those that these started."""
    return [each for child in _children(pid) for each in (child, *descendants(child))]


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
