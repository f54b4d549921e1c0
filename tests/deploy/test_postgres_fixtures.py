"""The fixtures that every test on PostgreSQL stands on."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from deploy.embedded.postgres_socket import answers

RUN = """
import time
from tests.postgres_cluster import throw_away_cluster
with throw_away_cluster() as cluster:
    print(cluster.server.data_dir, flush=True)
    time.sleep(60)
"""


async def test_every_empty_database_is_another_one_and_empty(empty_database: Callable[[], str]) -> None:
    first, second = empty_database(), empty_database()
    for url in (first, second):
        engine = create_async_engine(url, poolclass=NullPool)
        async with engine.begin() as connection:
            await connection.execute(sqlalchemy.text("CREATE TABLE deal (id int)"))
            assert (await connection.execute(sqlalchemy.text("SELECT count(*) FROM deal"))).scalar_one() == 0
    assert first != second


@pytest.mark.slow
def test_a_killed_run_leaves_neither_server_nor_files() -> None:
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", RUN], cwd=root, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        directory = Path(run.stdout.readline().strip())
        assert answers(directory / "postgres")
        run.kill()
    deadline = time.monotonic() + 10
    while directory.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
