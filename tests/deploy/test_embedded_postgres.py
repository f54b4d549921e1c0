"""The embedded PostgreSQL is started, killed, left behind and moved about; no row that was acknowledged is lost."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.embedded.postgres import EmbeddedPostgres, running_url
from deploy.embedded.postgres_account import find_account
from deploy.embedded.postgres_errors import (
    DataDirectoryInUseError,
    ServerError,
)
from deploy.embedded.postgres_processes import processes_in
from deploy.embedded.postgres_socket import SOCKET
from tests.deploy.embedded_server import started

REPOSITORY = Path(__file__).parents[2]
OWNER = Path(__file__).with_name("postgres_owner.py")
# The socket is in the cluster, or in a temporary folder.
SHORT, DEEP = "data", f"深/{'deep' * 30}"
IN_BOTH_LAYOUTS = pytest.mark.parametrize("made_directory", [SHORT, DEEP], indirect=True, ids=["short", "deep"])


@contextmanager
def owner(data_dir: Path, way: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs a server there and adds rows; killed at the end."""
    command = [sys.executable, OWNER, data_dir, way]
    child = subprocess.Popen(
        command, cwd=REPOSITORY, env={"PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, text=True
    )
    with child:
        try:
            yield child
        finally:
            child.kill()


def lines_until(child: subprocess.Popen[str], enough: int) -> tuple[int, int]:
    """Its server's pid, and how many rows it has told us of."""
    assert child.stdout is not None
    pid = json.loads(child.stdout.readline())["pid"]
    for _ in range(enough):
        child.stdout.readline()
    return pid, enough


def eventually(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def server_processes(data_dir: Path) -> list[int]:
    return processes_in(data_dir / "postgres", find_account())


def rows(server: EmbeddedPostgres) -> int:
    return int(server.execute("SELECT count(*) FROM deal"))


def test_a_restart_keeps_the_rows_and_nothing_runs_in_between(data_directory: Path) -> None:
    fresh = data_directory / "new" / "below"
    with started(fresh) as server:
        server.execute("CREATE TABLE deal (id int); INSERT INTO deal SELECT generate_series(1, 1000)")
        assert server.execute("SHOW fsync; SHOW synchronous_commit; SHOW max_connections") == "on\non\n200"
        assert server.is_running()
    server.stop()
    assert not server.is_running()
    assert server_processes(fresh) == []
    server.start()
    assert rows(server) == 1000
    server.stop()
    assert (fresh / "postgres").stat().st_uid == find_account().uid


def test_missing_databases_are_created_once(made_directory: Path) -> None:
    with started(made_directory, durable=False) as server:
        server.ensure_databases(["pipeline", "kpi"])
        server.execute("CREATE TABLE deal (id int)", database="pipeline")
        server.ensure_databases(["pipeline", "goal's own"])
        assert server.execute("SELECT count(*) FROM deal", database="pipeline") == "0"
        assert server.execute("SELECT 1", database="goal's own") == "1"


@IN_BOTH_LAYOUTS
async def test_a_killed_server_comes_back_with_its_rows(made_directory: Path) -> None:
    comebacks = asyncio.Queue[int | None]()
    with started(made_directory) as server:

        async def on_restart() -> None:
            comebacks.put_nowait(server.pid)

        watching = asyncio.create_task(server.supervise(on_restart))
        server.execute("CREATE TABLE deal (id int)")
        for killed in range(2):
            server.execute("INSERT INTO deal SELECT generate_series(1, 500)")
            dead = server.pid
            os.kill(dead or 0, signal.SIGKILL)
            async with asyncio.timeout(20):
                assert await comebacks.get() == server.pid
            assert rows(server) == 500 * (killed + 1)
            assert server.pid != dead
        await asyncio.to_thread(server.stop)
        await asyncio.wait_for(watching, 1)
    assert server_processes(made_directory) == []


async def test_supervising_goes_on_when_a_restart_fails_and_ends_when_stopped(made_directory: Path) -> None:
    settings = made_directory / "postgres" / "postgresql.auto.conf"
    said = made_directory / "postgres.log"
    back = asyncio.Event()
    with started(made_directory, durable=False) as server:

        async def on_restart() -> None:
            back.set()

        watching = asyncio.create_task(server.supervise(on_restart))
        good = settings.read_text()
        settings.write_text("no_such_setting = 1\n")
        os.kill(server.pid or 0, signal.SIGKILL)
        await asyncio.to_thread(eventually, lambda: said.read_text().count("no_such_setting") > 1)
        settings.write_text(good)
        await asyncio.wait_for(back.wait(), 20)
        assert server.execute("SELECT 1") == "1"
        server.stop()
        await asyncio.wait_for(watching, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("made_directory", "way"), [(SHORT, "main"), (DEEP, "thread")], indirect=["made_directory"])
def test_the_server_goes_with_a_killed_owner_and_the_next_start_has_every_row(made_directory: Path, way: str) -> None:
    """From the main thread the kernel alone must do it (the watchdog is dead), from another the watchdog alone."""
    with owner(made_directory, way) as child:
        pid, acknowledged = lines_until(child, 20)
        if way == "main":
            kill_watchdog(child.pid, server=pid)
        child.kill()
    eventually(lambda: server_processes(made_directory) == [])
    with started(made_directory) as server:
        assert rows(server) >= acknowledged


@pytest.mark.slow
def test_a_server_left_behind_is_stopped_by_the_next_start(made_directory: Path) -> None:
    with owner(made_directory, "thread") as child:
        pid, acknowledged = lines_until(child, 5)
        kill_watchdog(child.pid, server=pid)
        child.kill()
    assert pid in server_processes(made_directory)
    assert running_url(made_directory, "postgres") is not None
    with started(made_directory) as server:
        assert rows(server) >= acknowledged
        assert pid not in server_processes(made_directory)


def kill_watchdog(owner_pid: int, *, server: int) -> None:
    """Kill the owner's one child beside the server that waits in a session of its own."""
    tasks = Path(f"/proc/{owner_pid}/task").glob("*/children")
    children = {int(word) for task in tasks for word in task.read_text().split()} - {server}
    (watchdog,) = [child for child in children if Path(f"/proc/{child}/comm").read_text().strip() == "sh"]
    os.kill(watchdog, signal.SIGKILL)


@pytest.mark.slow
@IN_BOTH_LAYOUTS
def test_a_second_process_is_refused_and_finds_the_first_ones_server(made_directory: Path) -> None:
    assert running_url(made_directory, "kpi") is None
    with owner(made_directory, "main") as child:
        lines_until(child, 1)
        second = EmbeddedPostgres(made_directory)
        with pytest.raises(DataDirectoryInUseError, match=f"in use by process {child.pid}: stop it, or .*--data-dir"):
            second.start()
        second.stop()
        assert running_url(made_directory, "kpi") == second.url("kpi")
        child.kill()
    eventually(lambda: running_url(made_directory, "kpi") is None)
    second.start()
    second.stop()


@pytest.mark.parametrize("stranger", ["zombie", "living"])
def test_a_stale_lock_file_does_not_keep_a_new_server_out(made_directory: Path, stranger: str) -> None:
    """PostgreSQL believes any living pid of its own account, a zombie's too, in either of its two lock files."""
    with started(made_directory, durable=False) as server:
        server.execute("CREATE TABLE deal (id int)")
        locks = (made_directory / "postgres/postmaster.pid", server.socket_directory / f"{SOCKET}.lock")
        left = {lock: lock.read_text().splitlines()[1:] for lock in locks}
    command = ["true"] if stranger == "zombie" else ["sleep", "60"]
    with subprocess.Popen(command, cwd="/", **find_account().identity) as other:
        for lock, lines in left.items():
            lock.write_text("\n".join([str(other.pid), *lines, ""]))
            find_account().take(lock)
        with started(made_directory, durable=False) as server:
            assert rows(server) == 0
        other.kill()


def test_a_server_that_cannot_start_says_why(made_directory: Path) -> None:
    server = EmbeddedPostgres(made_directory, settings={"shared_buffers": "lots"}, durable=False)
    with pytest.raises(ServerError, match='invalid value for parameter "shared_buffers"'):
        server.start()
    with started(made_directory, durable=False) as again:
        assert again.execute("SELECT 1") == "1"
