"""The distributed mode as one child process, and the nemesis that kills and freezes its parts."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from random import Random

from deploy.demo.processes import tied_to_us
from deploy.running import running_on
from tests.embedded_system import IMPATIENT, System, descendants
from tests.system_caller import Json

READY_SECONDS = 240.0


class DistributedSystem(System):
    """Broker, PostgreSQL, two replicas of each service and the gateway, on one data directory."""

    async def start(self, **environment: str) -> None:
        """Start it and return once every replica is ready."""
        self._process = self._spawn(environment)
        await self.all_ready()

    def _spawn(self, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
        place = ["--data-dir", str(self.data_dir), "--port", str(self.port), "--bus", "kafka", "--replicas", "2"]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*tied_to_us(), sys.executable, "-m", "deploy.distributed", *place],
                env={**os.environ, **IMPATIENT, **environment},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    async def all_ready(self) -> None:
        """Wait until the gateway knows two ready replicas of each service."""
        async with asyncio.timeout(READY_SECONDS), self.caller() as caller:
            while not await self._is_whole(caller):
                assert self._process is not None
                assert self._process.poll() is None, self.last_words()
                await asyncio.sleep(0.2)

    async def _is_whole(self, caller: object) -> bool:
        with contextlib.suppress(Exception):
            told: Json = (await caller.ask("GET", "/readyz")).json()  # type: ignore[attr-defined]
            return all(one["replicas"] == {"known": 2, "ready": 2} for one in told["services"].values())
        return False

    def replicas(self) -> dict[str, int]:
        """The process id of each replica and of the gateway, by name."""
        running = running_on(self.data_dir)
        assert running is not None, self.last_words()
        return {name: place.pid for name, place in running.processes.items()}

    def broker(self) -> int | None:
        """Kafka's process; None while it is being started again."""
        for file in (self.data_dir / "kafka").glob("*/pid"):
            with contextlib.suppress(ValueError, FileNotFoundError):
                return int(file.read_text())
        return None


class Nemesis:
    """Kills and freezes whatever chance picks; every choice is drawn from the seed."""

    def __init__(self, system: DistributedSystem, seed: int) -> None:
        self.done: list[str] = []
        self._system = system
        self._chance = Random(f"nemesis {seed}")

    async def rage(self, seconds: float) -> None:
        """Strike again and again for so long; at the end everybody who was frozen goes on."""
        loop = asyncio.get_running_loop()
        over = loop.time() + seconds
        async with asyncio.TaskGroup() as frozen:
            while loop.time() < over:
                name = self._pick()
                kills = self._chance.random() < 0.6
                thawed_after = self._chance.uniform(1, 8)
                if pids := self._pids(name):
                    self.done.append(f"{'kill' if kills else f'freeze {thawed_after:.1f} s'} {name}")
                    if kills:
                        _signal(pids[:1], signal.SIGKILL)
                    else:
                        frozen.create_task(_freeze(pids, thawed_after))
                await asyncio.sleep(self._chance.uniform(0.8, 3))

    def _pick(self) -> str:
        where = self._chance.random()
        if where < 0.1:
            return "postgres"
        if where < 0.2:
            return "broker"
        return self._chance.choice(sorted(self._system.replicas()))

    def _pids(self, name: str) -> list[int]:
        """The processes of a part, the first one first; none while it is being started again."""
        if name == "broker":
            broker = self._system.broker()
            return [broker] if broker else []
        if name == "postgres":
            with contextlib.suppress(ValueError):
                postmaster = self._system.postmaster()
                return [postmaster, *descendants(postmaster)]
            return []
        return [self._system.replicas()[name]]


async def _freeze(pids: list[int], seconds: float) -> None:
    _signal(pids, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        _signal(pids, signal.SIGCONT)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
