"""Where the embedded mode keeps its data, and the lock that gives it to one process."""

import fcntl
import os
from pathlib import Path
from typing import IO

from deploy.embedded.postgres_errors import DataDirectoryError, DataDirectoryInUseError

SYSTEM_DATA_DIRECTORY = Path("/var/lib/salesgrain")


def default_data_directory(xdg_data_home: str | None = None) -> Path:
    """`/var/lib/salesgrain` for root, the XDG data home (default `~/.local/share`) for everyone else."""
    if os.geteuid() == 0:
        return SYSTEM_DATA_DIRECTORY
    return Path(xdg_data_home or Path.home() / ".local" / "share") / "salesgrain"


def make_data_directory(path: Path) -> None:
    """Make what is missing of the path, private to us (0700); nothing that exists is changed.

    Raises:
        DataDirectoryError: it cannot be made, or we cannot write there.
    """
    try:
        missing = [step for step in (path, *path.parents) if not step.exists()]
        for step in reversed(missing or [path]):
            step.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise DataDirectoryError(f"cannot make the data directory ({error}): name another with --data-dir") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise DataDirectoryError(f"{path} cannot be written by you: name another with --data-dir")


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
