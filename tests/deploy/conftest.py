"""A cluster made once for all tests of the embedded server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.embedded_server import copied, started
from tests.postgres_cluster import temporary_directory


@pytest.fixture(scope="session")
def made_once() -> Iterator[Path]:
    with temporary_directory() as directory:
        with started(directory):
            pass
        yield directory


@pytest.fixture
def made_directory(made_once: Path, data_directory: Path, request: pytest.FixtureRequest) -> Path:
    """A data directory whose cluster is made already: initdb is most of a first start's second.

    As root, PostgreSQL's account can enter neither it nor the folder above; a parameter is its path below that folder.
    """
    return copied(made_once, data_directory / getattr(request, "param", "data"))
