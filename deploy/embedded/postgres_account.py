"""The account that PostgreSQL runs as: initdb and postgres refuse root."""

import errno
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from deploy.embedded.postgres_errors import AccountError

SHELL = "/bin/sh"
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
PUBLIC_FOLDERS = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - our directories there are checked to be ours
INSTEAD = "or set DATABASE_URL to a PostgreSQL of your own"


class Identity(TypedDict, total=False):
    """The arguments of `subprocess` that make a child this account's; empty when no switch is needed."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class ServerAccount:
    """An unprivileged account; `switches` tells that we are root and become it in our children."""

    name: str
    uid: int
    gid: int
    switches: bool

    @property
    def identity(self) -> Identity:
        if not self.switches:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def run(self, *command: str | Path, cwd: Path = Path("/")) -> subprocess.CompletedProcess[str]:
        """Run a command as this account to its end, with a bare environment and its output as text."""
        try:
            return subprocess.run(
                command, cwd=cwd, env=ENVIRONMENT, umask=0o077, stdin=subprocess.DEVNULL, check=False,
                capture_output=True, text=True, errors="replace", **self.identity,
            )  # fmt: skip
        except PermissionError as error:
            if error.errno != errno.EPERM:
                raise
            raise AccountError(
                f"root may not become '{self.name}' here ({error}): give the container the capabilities "
                f"SETUID and SETGID, run SalesGrain as an ordinary user, {INSTEAD}"
            ) from error

    def can_enter(self, directory: Path) -> bool:
        """Ask the kernel, not the mode bits: lists of access rights and mounts count too."""
        return self.run(SHELL, "-c", 'cd "$1"', "sh", directory).returncode == 0

    def temporary_folders(self) -> Iterator[Path]:
        """The system's temporary folders that this account can enter, the one that TMPDIR names first."""
        for folder in (Path(tempfile.gettempdir()), *PUBLIC_FOLDERS):
            if folder.is_dir() and self.can_enter(folder):
                yield folder

    def owns(self, path: Path) -> bool:
        return path.lstat().st_uid == self.uid

    def make_directory(self, path: Path) -> None:
        """Make a private directory (0700) of this account; it appears at its place only when it is the account's."""
        made = Path(tempfile.mkdtemp(prefix=f"{path.name}-", dir=path.parent))
        self.take(made)
        made.rename(path)

    def take(self, path: Path) -> None:
        """Hand a file or directory that we have just made to this account."""
        if self.switches:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def find_account(run_as: str | None = None) -> ServerAccount:
    """The account for PostgreSQL: `run_as`, otherwise `nobody` for root and ourselves for everyone else.

    Raises:
        AccountError: no such account, root itself, or we may not become it; or we are root outside Linux.
    """
    ours = os.geteuid()
    try:
        entry = pwd.getpwnam(run_as or "nobody") if run_as or ours == 0 else pwd.getpwuid(ours)
    except KeyError as error:
        raise AccountError(
            f"the account {run_as or ('nobody' if ours == 0 else f'number {ours}')} is not in the list of "
            f"users, and PostgreSQL needs an entry there: name another with --run-as USER, {INSTEAD}"
        ) from error
    if entry.pw_uid == 0:
        raise AccountError("PostgreSQL refuses to run as root: leave out --run-as, or name an ordinary user")
    if ours not in (0, entry.pw_uid):
        raise AccountError(
            f"only root can run PostgreSQL as '{entry.pw_name}': leave out --run-as, or start SalesGrain as root"
        )
    if ours == 0 and sys.platform != "linux":
        raise AccountError(f"root can run PostgreSQL on Linux only: run SalesGrain as an ordinary user, {INSTEAD}")
    return ServerAccount(entry.pw_name, entry.pw_uid, entry.pw_gid, switches=ours == 0)
