"""The cluster on disk: how it is made, how its server is set, and what the server says about itself in it."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from deploy.embedded.postgres_account import ServerAccount
from deploy.embedded.postgres_binaries import PostgresBinaries
from deploy.embedded.postgres_errors import DataDirectoryError, ServerError
from deploy.embedded.postgres_socket import PORT, USER

UNFINISHED = "cluster-new-"
# The same order of Chinese text on every machine, whatever its locales.
INITDB_OPTIONS = (
    "-U", USER, "-A", "trust", "-E", "UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
)  # fmt: skip


def server_settings(socket_directory: Path, *, durable: bool) -> dict[str, str]:
    """What every embedded server runs with; without `durable` it may lose data in a power cut, never otherwise."""
    safe = "on" if durable else "off"
    return {
        "listen_addresses": "",
        "unix_socket_directories": f'"{socket_directory}"',
        "port": str(PORT),
        "max_connections": "200",
        "shared_buffers": "128MB",
        "synchronous_commit": "on",
        "fsync": safe,
        "full_page_writes": safe,
        "jit": "off",
        "log_checkpoints": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }


def own_postgres_directory(directory: Path, account: ServerAccount) -> None:
    """Make the account's part of the data directory, or check that it is the account's.

    Raises:
        DataDirectoryError: another account has started here before.
    """
    try:
        if not directory.exists():
            account.make_directory(directory)
    except OSError as error:
        raise DataDirectoryError(
            f"cannot give '{account.name}' a directory in {directory.parent} ({error}): name another --data-dir"
        ) from error
    if not account.owns(directory):
        raise DataDirectoryError(
            f"{directory} belongs to '{directory.owner()}', not to '{account.name}': start as that user, or with "
            "--run-as that user, or name another --data-dir"
        )


def make_cluster(cluster: Path, binaries: PostgresBinaries, account: ServerAccount, *, durable: bool) -> None:
    """Make it beside its place and rename it when it is whole: a cluster that exists is a complete one.

    Raises:
        ServerError: with what initdb said.
    """
    for remains in cluster.parent.glob(f"{UNFINISHED}*"):
        shutil.rmtree(remains)
    unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=cluster.parent))
    account.take(unfinished)
    options = [*INITDB_OPTIONS, *(() if durable else ("--no-sync",))]
    done = account.run(binaries.program("initdb"), *options, "-D", unfinished, cwd=cluster.parent)
    if done.returncode != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise ServerError(f"initdb could not make the cluster in {cluster.parent}:\n{done.stderr.strip()}")
    unfinished.rename(cluster)
    parent = os.open(cluster.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


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
            return cls(int(lines[0]), Path(lines[4]), lines[7].strip() == "ready")
        except (FileNotFoundError, IndexError, ValueError):
            return None
