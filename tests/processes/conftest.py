"""A site for each test: databases of its own, and no process that outlives it."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.postgres_cluster import PostgresCluster
from tests.processes.site import Site, site_of


@pytest.fixture
def site(postgres: PostgresCluster, tmp_path: Path) -> Iterator[Site]:
    """Nothing is there yet: neither databases, nor the log, nor the key set."""
    with site_of(postgres, tmp_path, f"site_{uuid4().hex[:8]}") as made:
        yield made
