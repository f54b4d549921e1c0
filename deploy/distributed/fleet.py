"""Child processes that are started again whenever they die, and end with us however we do."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.demo.processes import tied_to_us
from deploy.running import Place
from shared.logging import get_logger
from shared.settings import child_environment

log = get_logger(__name__)

WATCH_SECONDS = 0.05
FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0
STEADY_SECONDS = 10.0
END_SECONDS = 12.0


@dataclass(frozen=True, slots=True)
class Program:
    """A module to run as `name`, where it serves, and what its environment has beside ours."""

    name: str
    module: str
    url: str
    environment: Mapping[str, str]


class Member:
    """One program and its process."""

    def __init__(self, program: Program, log_file: Path, told: Callable[[], None]) -> None:
        """`told` is called whenever the process is another one."""
        self.program = program
        self._log_file = log_file
        self._told = told
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; 0 before the first start."""
        return self._process.pid if self._process else 0

    async def run(self) -> None:
        """Start it, and again whenever it dies, later and later while it keeps dying; until cancelled."""
        delay = FIRST_DELAY
        clock = asyncio.get_running_loop().time
        while True:
            started = clock()
            code = await self._ended(self._start())
            log.warning("process_died", name=self.program.name, code=code, log=str(self._log_file))
            delay = FIRST_DELAY if clock() - started > STEADY_SECONDS else min(delay * 2, LONGEST_DELAY)
            await asyncio.sleep(delay)

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._log_file.open("ab") as output:
            self._process = started = subprocess.Popen(
                [*tied_to_us(), sys.executable, "-m", self.program.module],
                env=child_environment(self.program.environment),
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        self._told()
        return started

    async def _ended(self, process: "subprocess.Popen[bytes]") -> int:
        while True:
            if (code := process.poll()) is not None:
                return code
            await asyncio.sleep(WATCH_SECONDS)

    async def end(self) -> None:
        """Ask it to end (SIGTERM), and insist after END_SECONDS."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(self._process.wait, END_SECONDS)
        except subprocess.TimeoutExpired:
            log.error("process_does_not_end", name=self.program.name)
            self._process.kill()
            self._process.wait()


class Fleet:
    """All members; `run` keeps them running until cancelled, then ends them together."""

    def __init__(self, programs: list[Program], log_folder: Path, told: Callable[[dict[str, Place]], None]) -> None:
        self._told = told
        log_folder.mkdir(mode=0o700, exist_ok=True)
        self._members = [Member(one, log_folder / f"{one.name}.log", self._tell) for one in programs]

    def _tell(self) -> None:
        self._told({one.program.name: Place(one.pid, one.program.url) for one in self._members if one.pid})

    async def run(self) -> None:
        running = [asyncio.create_task(member.run(), name=member.program.name) for member in self._members]
        try:
            await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)
            await asyncio.gather(*(member.end() for member in self._members))
