"""The supervisor of the embedded PostgreSQL: one server per data directory, ours alone, gone when we are gone.

The data directory holds `postgres/` (the cluster, the account's), `postgres.log` and `postgres.lock`.
"""

import asyncio
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO

from deploy.embedded.data_directory import DataDirectoryLock, make_data_directory
from deploy.embedded.postgres_account import ENVIRONMENT, find_account
from deploy.embedded.postgres_binaries import PostgresBinaries, binaries_for, installed_binaries
from deploy.embedded.postgres_cluster import (
    ServerStatus,
    check_cluster,
    cluster_in,
    from_within,
    make_cluster,
    server_settings,
)
from deploy.embedded.postgres_errors import DataDirectoryError, ServerError
from deploy.embedded.postgres_processes import POLL_SECONDS, ServerProcess, end_left_behind
from deploy.embedded.postgres_socket import (
    PORT,
    USER,
    answers,
    clear_socket_directory,
    database_url,
    make_socket_directory,
    socket_directory,
)
from shared.logging import get_logger

WATCH_SECONDS = 0.05
FIRST_DELAY = 0.1
LONGEST_DELAY = 10.0
STEADY_SECONDS = 30.0
LARGEST_LOG = 16 * 1024 * 1024
LOG_LINES = 12

log = get_logger(__name__)


class EmbeddedPostgres:
    """PostgreSQL 18 as our direct child, on a Unix socket only; start it from the main thread where you can."""

    def __init__(
        self,
        data_dir: Path,
        *,
        run_as: str | None = None,
        settings: Mapping[str, str] = MappingProxyType({}),
        durable: bool = True,
    ) -> None:
        """Decide how and where; nothing is made.

        Args:
            data_dir: one server's own directory, made when missing.
            run_as: the account for the server when we are root, by default `nobody`. Servers of one account can
                read and signal each other.
            settings: PostgreSQL settings over ours.
            durable: False gives up what a power cut would take (fsync); for tests.

        Raises:
            AccountError: the account cannot be used.
            DataDirectoryError: there is no place for the socket.
        """
        self.data_dir = data_dir.absolute()
        self._cluster = cluster_in(self.data_dir)
        self._account = find_account(run_as)
        self.socket_directory = socket_directory(self._cluster, self._account)
        self._settings = {**server_settings(self._cluster, self.socket_directory, durable=durable), **settings}
        self._durable = durable
        self._lock = DataDirectoryLock(self.data_dir / "postgres.lock")
        self._guard = threading.Lock()
        self._stopping = False
        self._server: ServerProcess | None = None
        self._started_at = 0
        self._binaries: PostgresBinaries | None = None

    def start(self) -> None:
        """Make the cluster where there is none, start the server and wait until it answers, recovery included.

        Raises:
            EmbeddedPostgresError: what stands in the way, and what to do about it.
        """
        self._stopping = False
        make_data_directory(self.data_dir)
        self._lock.take()
        try:
            self._prepare()
            self._spawn()
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Fast shutdown, immediate after 20 s; gives the data directory free. May be called twice, from any thread."""
        self._stopping = True
        with self._guard:
            server, self._server = self._server, None
            if server is not None:
                server.end()
            if self._lock.held and self._socket_is_elsewhere:
                shutil.rmtree(self.socket_directory, ignore_errors=True)
            self._lock.release()

    def url(self, database: str) -> str:
        """SQLAlchemy URL of a database of this server; valid before the start and over every restart."""
        return database_url(self.socket_directory, database)

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while there is one."""
        server = self._server
        return server.pid if server is not None and server.exit_code is None else None

    def is_running(self) -> bool:
        """Whether the postmaster lives; it may still be recovering."""
        return self.pid is not None

    def execute(self, statement: str, database: str = "postgres") -> str:
        """Run SQL with psql, each statement in its own transaction, and return the rows as bare text.

        Raises:
            ServerError: with what PostgreSQL said.
        """
        psql = installed_binaries().program("psql")
        address = ("-h", self.socket_directory, "-p", str(PORT), "-U", USER, "-d", database)
        done = subprocess.run(
            [psql, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *address],
            input=statement, env=ENVIRONMENT, capture_output=True, encoding="utf-8", check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise ServerError(done.stderr.strip())
        return done.stdout.strip()

    def ensure_databases(self, names: Iterable[str]) -> None:
        """Create the databases that are missing."""
        for name in names:
            literal = name.replace("'", "''")
            self.execute(
                f"SELECT format('CREATE DATABASE %I', '{literal}') "  # noqa: S608 - quoted, and our own names
                f"WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{literal}') \\gexec"
            )

    async def supervise(self, on_restart: Callable[[], Awaitable[None]] | None = None) -> None:
        """Bring the server back, with back-off, whenever it dies; returns once `stop` has been called.

        `on_restart` is awaited after each comeback, when the server answers again.
        """
        delay, since = FIRST_DELAY, time.monotonic()
        while not self._stopping:
            if self.is_running():
                await asyncio.sleep(WATCH_SECONDS)
                continue
            if time.monotonic() - since > STEADY_SECONDS:
                delay = FIRST_DELAY
            log.error("postgres_died", delay=delay, log=str(self._log_path))
            await asyncio.sleep(delay)
            delay, since = min(delay * 2, LONGEST_DELAY), time.monotonic()
            if await self._come_back() and on_restart is not None:
                await on_restart()

    async def _come_back(self) -> bool:
        try:
            await asyncio.to_thread(self._clear)
            self._spawn()
            await asyncio.to_thread(self._wait_until_ready)
        except (ServerError, OSError) as error:
            if not self._stopping:
                log.error("postgres_not_back", error=str(error))
            return False
        log.warning("postgres_is_back", pid=self.pid)
        return True

    @property
    def _socket_is_elsewhere(self) -> bool:
        return self.socket_directory != self._cluster

    @property
    def _log_path(self) -> Path:
        return self.data_dir / "postgres.log"

    def _prepare(self) -> None:
        self._binaries = binaries_for(self._account, installed_binaries())
        if self._socket_is_elsewhere:
            make_socket_directory(self.socket_directory, self._account)
        if self._cluster.exists():
            check_cluster(self._cluster, self._account)
            end_left_behind(self._cluster, self._account)
        else:
            make_cluster(self._cluster, self._binaries, self._account, durable=self._durable)
        clear_socket_directory(self.socket_directory)

    def _clear(self) -> None:
        with self._guard:
            if self._server is not None:
                self._server.end()
            if not self._stopping:
                end_left_behind(self._cluster, self._account)
                clear_socket_directory(self.socket_directory)

    def _spawn(self) -> None:
        with self._guard, self._open_log() as output:
            if self._stopping or self._binaries is None:
                raise ServerError("the server was stopped while it started")
            options = [f"--{name}={value}" for name, value in self._settings.items()]
            command = [str(self._binaries.program("postgres")), "-D", str(from_within(self._cluster)), *options]
            self._server = ServerProcess(command, self._account, self._cluster, output)

    def _open_log(self) -> IO[bytes]:
        if self._log_path.exists() and self._log_path.stat().st_size > LARGEST_LOG:
            self._log_path.replace(self._log_path.with_suffix(".log.1"))
        output = os.fdopen(os.open(self._log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, mode=0o600), "ab")
        self._started_at = output.tell()
        return output

    def _wait_until_ready(self) -> None:
        while not self._ready():
            time.sleep(POLL_SECONDS)

    def _ready(self) -> bool:
        server = self._server
        if server is None:
            raise ServerError("the server was stopped while it started")
        if server.exit_code is not None:
            raise ServerError(f"PostgreSQL ended with code {server.exit_code} while it started:\n{self._last_words()}")
        status = ServerStatus.read(self._cluster)
        return status is not None and status.ready and status.pid == server.pid

    def _last_words(self) -> str:
        with self._log_path.open("rb") as lines:
            lines.seek(self._started_at)
            return "\n".join(lines.read().decode(errors="replace").splitlines()[-LOG_LINES:])


def running_url(data_dir: Path, database: str) -> str | None:
    """The URL of a database of the server that another process runs on this data directory; None when none runs.

    Raises:
        DataDirectoryError: it belongs to an account that we may not look at.
    """
    try:
        status = ServerStatus.read(cluster_in(data_dir.absolute()))
    except PermissionError as error:
        raise DataDirectoryError(f"{data_dir} is another user's: run this as the one who started SalesGrain") from error
    if status is None or not status.ready or not answers(status.socket_directory):
        return None
    return database_url(status.socket_directory, database)
