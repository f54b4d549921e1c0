"""The cluster on disk: how it is made, how its server is set, and what the server says about itself in it.

The cluster is the account's, but the folders above it may be closed to that account: on Linux the server is put
into its cluster while we are still root, and names it by `/proc/self/cwd`, which needs no way from the root down.
"""

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from deploy.embedded.postgres_account import ServerAccount
from deploy.embedded.postgres_binaries import PostgresBinaries
from deploy.embedded.postgres_errors import DataDirectoryError, ServerError
from deploy.embedded.postgres_socket import PORT, USER

WORKING_DIRECTORY = Path("/proc/self/cwd")
UNFINISHED = "postgres-new-"
# The same order of Chinese text on every machine, whatever its locales.
INITDB_OPTIONS = (
    "-U", USER, "-A", "trust", "-E", "UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
)  # fmt: skip


def cluster_in(data_dir: Path) -> Path:
    """The one part of a data directory that is the account's."""
    return data_dir / "postgres"


def from_within(cluster: Path) -> Path:
    """The cluster's name for a process that works in it."""
    return WORKING_DIRECTORY if sys.platform == "linux" else cluster


def server_settings(cluster: Path, socket_directory: Path, *, durable: bool) -> dict[str, str]:
    """What every embedded server runs with; without `durable` it may lose data in a power cut, never otherwise."""
    safe = "on" if durable else "off"
    place = from_within(cluster) if socket_directory == cluster else socket_directory
    return {
        "listen_addresses": "",
        "unix_socket_directories": f'"{place}"',
        "port": str(PORT),
        "max_connections": "200",
        "shared_buffers": "128MB",
        "synchronous_commit": "on",
        "fsync": safe,
        "full_page_writes": safe,
        "jit": "off",
        # Plans made while a table was empty must not outlive its first thousand rows by long.
        "autovacuum_naptime": "5s",
        "log_checkpoints": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }


def make_cluster(cluster: Path, binaries: PostgresBinaries, account: ServerAccount, *, durable: bool) -> None:
    """Make it beside its place and rename it when it is whole: a cluster that exists is a complete one.

    Raises:
        DataDirectoryError: the data directory cannot be given to the account in part.
        ServerError: with what initdb said.
    """
    for remains in cluster.parent.glob(f"{UNFINISHED}*"):
        shutil.rmtree(remains, ignore_errors=True)
    try:
        unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=cluster.parent))
        account.take(unfinished)
    except OSError as error:
        raise DataDirectoryError(
            f"cannot give '{account.name}' a directory in {cluster.parent} ({error}): name another --data-dir"
        ) from error
    options = [*INITDB_OPTIONS, *(() if durable else ("--no-sync",))]
    done = account.run(binaries.program("initdb"), *options, "-D", from_within(unfinished), cwd=unfinished)
    if done.returncode != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise ServerError(f"initdb could not make the cluster in {cluster.parent}:\n{done.stderr.strip()}")
    unfinished.rename(cluster)
    parent = os.open(cluster.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def check_cluster(cluster: Path, account: ServerAccount) -> None:
    """Tell whether this account's server can run on what is there.

    Raises:
        DataDirectoryError: another account has started here before, or it is something else.
    """
    if not account.owns(cluster):
        raise DataDirectoryError(
            f"{cluster} belongs to user {cluster.lstat().st_uid}, not to '{account.name}' ({account.uid}): start as "
            "that user, or with --run-as that user, or name another --data-dir"
        )
    if not (cluster / "PG_VERSION").is_file():
        raise DataDirectoryError(f"{cluster} holds no PostgreSQL cluster: remove it, or name another --data-dir")


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What the server writes into `postmaster.pid`; it stays there when the server is killed."""

    pid: int
    socket_directory: Path
    ready: bool

    @classmethod
    def read(cls, cluster: Path) -> "ServerStatus | None":
        """None while there is no whole file."""
        try:
            lines = (cluster / "postmaster.pid").read_text().splitlines()
            place = Path(lines[4])
            return cls(int(lines[0]), cluster if place == from_within(cluster) else place, lines[7].strip() == "ready")
        except (FileNotFoundError, IndexError, ValueError):
            return None
