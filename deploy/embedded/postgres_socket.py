"""Where the server's Unix socket is, and how its databases are named in a URL.

It is in the cluster itself. Where that path is too long for a socket address (90 bytes) or holds a character that
an address list gives a meaning, it is `salesgrain-<hash of the cluster's path>` in a temporary folder instead:
always the same one, so that a killed server leaves one directory, not many.
"""

import hashlib
import os
import re
import socket
import stat
from pathlib import Path
from urllib.parse import quote

from deploy.embedded.postgres_account import ServerAccount
from deploy.embedded.postgres_errors import DataDirectoryError

USER = "salesgrain"
PORT = 5432
SOCKET = f".s.PGSQL.{PORT}"
LONGEST_PATH = 90
PLAIN = re.compile(r"[\w/.+@= -]+")


def socket_directory(cluster: Path, account: ServerAccount) -> Path:
    """The one place for this cluster (absolute); nothing is made.

    Raises:
        DataDirectoryError: no temporary folder is short enough and open to the account.
    """
    name = f"salesgrain-{hashlib.sha256(os.fsencode(cluster)).hexdigest()[:16]}"
    if _fits(cluster):
        return cluster
    for folder in account.temporary_folders():
        if _fits(folder / name):
            return folder / name
    raise DataDirectoryError(
        f"the path of {cluster} is too long for a socket, and '{account.name}' can enter no temporary folder: name a "
        "shorter --data-dir, or a short TMPDIR that this account can enter"
    )


def _fits(directory: Path) -> bool:
    return len(os.fsencode(directory)) < LONGEST_PATH and PLAIN.fullmatch(str(directory)) is not None


def make_socket_directory(directory: Path, account: ServerAccount) -> None:
    """Make it, private to the account: whoever can enter it may connect.

    Raises:
        DataDirectoryError: somebody else's directory is in its place.
    """
    if not directory.is_symlink() and not directory.exists():
        account.make_directory(directory)
    found = directory.lstat()
    private = stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == stat.S_IRWXU
    if not private or found.st_uid != account.uid:
        raise DataDirectoryError(f"{directory} is not a private directory (0700) of '{account.name}': remove it")


def clear_socket_directory(directory: Path) -> None:
    """Remove what a killed server left there; its lock file would keep a new one out as long as its zombie stays.

    Call only as the owner of the data directory's lock, when no server runs.
    """
    for name in (SOCKET, f"{SOCKET}.lock"):
        (directory / name).unlink(missing_ok=True)


def database_url(directory: Path, database: str) -> str:
    """The database behind the socket as a SQLAlchemy URL for asyncpg; the port names the socket's file."""
    return f"postgresql+asyncpg://{USER}@/{quote(database)}?host={quote(str(directory))}&port={PORT}"


def answers(directory: Path) -> bool:
    """Whether a living server listens there."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(directory / SOCKET))
        except OSError:
            return False
    return True
