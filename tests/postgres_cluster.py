"""One PostgreSQL for a test run: in memory where there is room, a fresh database per test, nothing left behind."""

import asyncio
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from deploy.embedded.postgres import EmbeddedPostgres

MEMORY = Path("/dev/shm")
ROOM_NEEDED = 1024**3

# Outlives us when we are killed: waits for our end and the server's, then removes the directory.
CLEANER = """
read -r _
left=100
while [ $left -gt 0 ] && [ -e "$1/postgres/postmaster.pid" ]; do sleep 0.2; left=$((left - 1)); done
rm -rf "$1"
"""


class PostgresCluster:
    """A running throw-away server; databases of it are made and dropped in some 10 ms."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.server = server
        self._numbers = itertools.count(1)
        self._templates: set[str] = set()

    def url(self, database: str) -> str:
        """SQLAlchemy URL (asyncpg) of a database."""
        return self.server.url(database)

    def execute(self, statement: str, database: str = "postgres") -> str:
        """Run SQL with psql and return the rows as bare text."""
        return self.server.execute(statement, database)

    def create_database(self, template: str = "template1") -> str:
        """Make a fresh copy of the template and return its name."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY = FILE_COPY")
        return name

    def drop_database(self, name: str) -> None:
        """Drop it, whoever is still connected."""
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def template_of(self, service: str) -> str:
        """The service's database at its newest schema, migrated once per run; nobody is connected to it."""
        name = f"template_{service}"
        if name not in self._templates:
            self.drop_database(name)
            self.execute(f"CREATE DATABASE {name}")
            migrate(self.url(name), service)
            self.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
            self._templates.add(name)
        return name


def migrate(url: str, service: str) -> None:
    """Bring a database to the service's head; in a thread, since the caller may be inside an event loop."""
    from shared.db.migrations import upgrade

    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(upgrade(url, service))).result()


@contextmanager
def throw_away_cluster() -> Iterator[PostgresCluster]:
    """A server without fsync, in memory where there is room."""
    with temporary_directory(MEMORY if _suits(MEMORY) else None) as directory:
        server = EmbeddedPostgres(directory, durable=False)
        server.start()
        try:
            yield PostgresCluster(server)
        finally:
            server.stop()


@contextmanager
def temporary_directory(folder: Path | None = None) -> Iterator[Path]:
    """An empty private directory (0700); it is removed at the end, and also when we are killed."""
    directory = Path(tempfile.mkdtemp(prefix="salesgrain-test-", dir=folder))
    cleaner = subprocess.Popen(
        ["/bin/sh", "-c", CLEANER, "salesgrain-test-cleaner", directory],
        cwd="/", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        cleaner.communicate()


def _suits(folder: Path) -> bool:
    """Room for a few hundred databases."""
    if not folder.is_dir():
        return False
    about = os.statvfs(folder)
    return about.f_bavail * about.f_frsize > ROOM_NEEDED
