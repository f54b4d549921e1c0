"""Embedded servers for tests: run one for a block, and make its cluster without a second of initdb."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.embedded.postgres import EmbeddedPostgres


@contextmanager
def started(data_dir: Path, *, durable: bool = True) -> Iterator[EmbeddedPostgres]:
    """A running server for the block."""
    server = EmbeddedPostgres(data_dir, durable=durable)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def copied(made: Path, data_dir: Path) -> Path:
    """A copy of the cluster in a data directory."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", made / "postgres", data_dir], check=True)
    return data_dir
