"""`salesgrain migrate --service NAME`: the one database that DATABASE_URL names, also when many do it at once."""

import asyncio
import os
import sys
from collections.abc import Callable

from deploy.demo.processes import SERVE
from shared.db.engine import Database
from shared.web.health import platform_checks


async def migrate(service: str, **environment: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVE, "migrate", "--service", service,
        env={"PATH": os.environ["PATH"], **environment}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_three_at_once_bring_one_database_to_head(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    checks = platform_checks("goals", database := Database(url, "test"))
    assert await checks["migrations"]() == "not migrated yet"
    done = await asyncio.gather(*(migrate("goals", DATABASE_URL=url) for _ in range(3)))
    assert done == [(0, "the database of goals is at its newest schema\n")] * 3
    assert await checks["migrations"]() is None
    await database.close()


async def test_what_stands_in_the_way_is_one_line(empty_database: Callable[[], str]) -> None:
    code, said = await migrate("kpi")
    assert (code, said) == (
        1,
        "salesgrain: DATABASE_URL is not set: where the database of kpi is (postgresql+asyncpg://...)\n",
    )
    code, said = await migrate("kpi", DATABASE_URL=empty_database().replace("test_", "nowhere_"))
    assert code == 1
    assert said.startswith("salesgrain: kpi: ")
    assert "does not exist" in said
    assert len(said.splitlines()) == 1
