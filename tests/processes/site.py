"""Services as processes on real databases: started in any order, watched over HTTP, ended by signals."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from deploy.demo.processes import free_port, tied_to_us
from shared.auth.development_issuer import DevelopmentIssuer
from tests.postgres_cluster import PostgresCluster
from tests.system_caller import Caller, until

SERVICES = ("pipeline", "kpi", "goals", "notify")
PATIENCE = 120.0
# No peer is there: a name for each that nobody listens on.
NOBODY = "http://127.0.0.1:9"


class Process:
    """One process: where it serves, and its log."""

    def __init__(self, module: str, log: Path, environment: dict[str, str], port: int | None = None) -> None:
        self.port = port or free_port(None)
        self.url = f"http://127.0.0.1:{self.port}"
        self._module = module
        self._log = log
        self._environment = {
            **os.environ, "LOG_LEVEL": "INFO", "HOST": "127.0.0.1", "PORT": str(self.port), **environment,
        }  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self._written = 0

    def start(self) -> None:
        """Start it, or start it again on the same port."""
        self._written = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*tied_to_us(), sys.executable, "-m", self._module],
                env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    async def ended(self, within: float) -> int:
        """The exit code, once it has ended by itself."""
        process = self._process
        assert process is not None
        await until(_async(lambda: process.poll() is not None), within)
        return int(process.returncode)

    def end(self) -> None:
        """End it whatever its state; for the clean-up."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    async def ask(self, path: str, **headers: str) -> httpx.Response | None:
        """The answer to GET, None when nobody listens there."""
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
                return await client.get(f"{self.url}{path}", headers=headers)
        except httpx.TransportError:
            assert self._process is None or self._process.poll() is None, self.log()
            return None

    async def answering(self) -> None:
        await until(_async_of(lambda: self.ask("/livez")), PATIENCE)

    async def readiness(self) -> tuple[int, dict[str, Any]]:
        answer = await self.ask("/readyz")
        return (0, {}) if answer is None else (answer.status_code, answer.json())

    async def missing(self) -> dict[str, str]:
        """What /readyz says is not there, with its reasons."""
        _, told = await self.readiness()
        return {name: check["reason"] for name, check in told.get("checks", {}).items() if not check["ok"]}

    async def ready(self, within: float = PATIENCE) -> None:
        deadline = time.monotonic() + within
        while (found := await self.readiness())[0] != 200:
            assert time.monotonic() < deadline, (found, self.log())
            await asyncio.sleep(0.05)

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-6000:]

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What its present process logged under that name."""
        with self._log.open("rb") as log:
            log.seek(self._written)
            told = [json.loads(line) for line in log.read().splitlines() if line.startswith(b"{")]
        return [line for line in told if line["event"] == event]

    def owned(self, group: str) -> int | None:
        """How many partitions of a group it said last that it owns."""
        told = [line["partitions"] for line in self.lines("partitions_owned") if line["group"] == group]
        return told[-1] if told else None

    async def metric(self, name: str) -> float:
        answer = await self.ask("/metrics")
        found = re.search(rf"^{re.escape(name)} (\S+)$", answer.text if answer else "", re.MULTILINE)
        return float(found.group(1)) if found else 0.0


class Site:
    """Databases, a log and a key set, and the processes that were started on them."""

    def __init__(self, cluster: PostgresCluster, folder: Path, name: str) -> None:
        self.cluster = cluster
        self.name = name
        self.folder = folder
        self.issuer = DevelopmentIssuer.create()
        self.key_set = folder / "jwks.json"
        self.bus_url = cluster.url(f"{name}_bus")
        self.processes: list[Process] = []
        self._made: list[str] = []

    def make_database(self, service: str, template: str | None = None) -> None:
        """Make the database of a service, or of the log; by default at the newest schema."""
        template = template or ("template1" if service == "bus" else self.cluster.template_of(service))
        name = f"{self.name}_{service}"
        self.cluster.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY = FILE_COPY")
        self._made.append(name)

    def make_named_database(self) -> None:
        """The one beside which the others are, for who is told one DSN for all."""
        self.cluster.execute(f"CREATE DATABASE {self.name} TEMPLATE template1 STRATEGY = FILE_COPY")
        self._made.append(self.name)

    def make_all(self) -> None:
        """Everything that a service waits for."""
        for service in (*SERVICES, "bus"):
            self.make_database(service)
        self.write_key_set()

    def write_key_set(self) -> None:
        self.key_set.write_text(self.issuer.key_set_text(), encoding="utf-8")

    def url(self, service: str) -> str:
        return self.cluster.url(f"{self.name}_{service}")

    def process(self, service: str, number: int = 1, **environment: str) -> Process:
        """A replica of a service, not started yet; its peers are nowhere unless `environment` says where."""
        return self._process(f"{service}-{number}", f"services.{service}", {
            "DATABASE_URL": self.url(service), "BUS_URL": self.bus_url, "AUTH_JWKS_FILE": str(self.key_set),
            "SERVICE_TOKEN": "s" * 40, "CURSOR_SECRET": "c" * 40, "WEBHOOK_ALLOW_PRIVATE": "true",
            **{f"{name.upper()}_URL": NOBODY for name in SERVICES}, **environment,
        })  # fmt: skip

    def gateway(self, port: int | None = None, **urls: str) -> Process:
        """A gateway before `pipeline=...`, `kpi=...` and so on, not started yet."""
        told = {f"{name.upper()}_URL": urls.get(name, NOBODY) for name in SERVICES}
        return self._process("gateway", "deploy.gateway", told, port)

    def _process(self, name: str, module: str, environment: dict[str, str], port: int | None = None) -> Process:
        made = Process(module, self.folder / f"{name}.log", environment, port)
        self.processes.append(made)
        return made

    def caller(self, url: str) -> Caller:
        return Caller(url, self.issuer.token("admin"))

    def rows(self, service: str, statement: str) -> list[list[str]]:
        found = self.cluster.execute(statement, f"{self.name}_{service}")
        return [line.split("|") for line in found.splitlines()]

    def close(self) -> None:
        for process in self.processes:
            process.end()
        for name in self._made:
            self.cluster.drop_database(name)


@contextmanager
def site_of(cluster: PostgresCluster, folder: Path, name: str) -> Iterator[Site]:
    site = Site(cluster, folder, name)
    try:
        yield site
    finally:
        site.close()


def _async(look: Callable[[], Any]) -> Callable[[], Awaitable[Any]]:
    async def looked() -> Any:
        return look()

    return looked


def _async_of(ask: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[bool]]:
    async def looked() -> bool:
        return await ask() is not None

    return looked
