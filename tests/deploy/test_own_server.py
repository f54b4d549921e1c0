"""A DSN in the environment wins: the embedded mode on somebody's own PostgreSQL makes its databases beside the named one."""

import json
from collections.abc import Callable
from pathlib import Path

from deploy.embedded.mode import opened
from shared.http_client import HttpClient


async def test_the_databases_are_made_once_beside_the_named_one(
    empty_database: Callable[[], str], tmp_path: Path
) -> None:
    given = {"database_url": empty_database()}
    for _ in range(2):
        async with opened(tmp_path / "data", None, given) as assembly:
            client = HttpClient(base_url="http://gateway", app=assembly.gateway)
            answer = await client.request("GET", "/readyz")
            checks = json.loads(answer.body)["services"]["kpi"]["checks"]
            assert (checks["database"]["ok"], checks["migrations"]["ok"]) == (True, True)
            assert not (tmp_path / "data" / "postgres").exists()
            await client.close()
