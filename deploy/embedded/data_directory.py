"""Where the embedded mode keeps its data, made so that PostgreSQL's account can reach its part of it."""

import fcntl
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from deploy.embedded.postgres_account import ServerAccount, find_account
from deploy.embedded.postgres_errors import DataDirectoryError, DataDirectoryInUseError

SYSTEM_DATA_DIRECTORY = Path("/var/lib/salesgrain")


def default_data_directory(xdg_data_home: str | None = None) -> Path:
    """`/var/lib/salesgrain` for root, the XDG data home (default `~/.local/share`) for everyone else."""
    if os.geteuid() == 0:
        return SYSTEM_DATA_DIRECTORY
    return Path(xdg_data_home or Path.home() / ".local" / "share") / "salesgrain"


def temporary_data_directory(
    run_as: str | None = None, *, prefix: str = "salesgrain-", below: Iterable[Path] = ()
) -> Path:
    """A new empty directory that PostgreSQL's account can enter; the caller removes it.

    The first folder of `below`, or else of the system's temporary folders, that the account can enter holds it.
    """
    account = find_account(run_as)
    folders = [*below, Path(tempfile.gettempdir()), Path("/var/tmp"), SYSTEM_DATA_DIRECTORY.parent]  # noqa: S108 - only mkdtemp writes there
    for folder in folders:
        if folder.is_dir() and os.access(folder, os.W_OK) and account.can_enter(folder):
            made = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
            made.chmod(directory_mode(account))
            return made
    raise DataDirectoryError(
        f"'{account.name}' can enter none of {', '.join(map(str, folders))}: set TMPDIR to a folder that it can"
    )


def make_data_directory(path: Path, account: ServerAccount) -> None:
    """Make what is missing of the path and check that the account can enter it; nothing that exists is changed.

    Raises:
        DataDirectoryError: the account cannot enter it, or we cannot write there.
    """
    missing = [step for step in (path, *path.parents) if not step.exists()]
    _require_entry(missing[-1].parent if missing else path, account)
    try:
        for step in reversed(missing):
            step.mkdir(mode=0o700)
            step.chmod(directory_mode(account))
    except OSError as error:
        raise DataDirectoryError(f"cannot make the data directory ({error}): name another with --data-dir") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise DataDirectoryError(f"{path} cannot be written by you: name another with --data-dir")


def directory_mode(account: ServerAccount) -> int:
    """Another account may pass through a directory of ours, but not list it."""
    return 0o711 if account.switches else 0o700


def _require_entry(path: Path, account: ServerAccount) -> None:
    if account.can_enter(path):
        return
    closed = next(step for step in (*reversed(path.parents), path) if not account.can_enter(step))
    raise DataDirectoryError(
        f"PostgreSQL runs as '{account.name}', which cannot enter {closed}, so the data cannot be kept below it. "
        f"Name a directory that it can reach (--data-dir {SYSTEM_DATA_DIRECTORY}), name an account that can "
        f"enter this one (--run-as USER), or open it yourself (chmod o+x '{closed}')"
    )


class DataDirectoryLock:
    """One process per data directory; the kernel frees it when that process dies, however it does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    @property
    def held(self) -> bool:
        return self._file is not None

    def take(self) -> None:
        """Take it or fail at once.

        Raises:
            DataDirectoryInUseError: another process, or another object of this one, has it.
        """
        file = self._path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            file.close()
            raise DataDirectoryInUseError(
                f"{self._path.parent} is in use by process {owner}: stop it, or name another --data-dir"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Give it back; harmless when it is not held."""
        if self._file is not None:
            self._file.close()
            self._file = None
