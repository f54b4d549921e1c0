"""What the demonstration reads: its own files, and KPI values over HTTP."""

import asyncio
import csv
from collections.abc import Mapping
from pathlib import Path

from deploy.demo.api import Api, Json
from deploy.demo.processes import DemoFailure

DATA = Path(__file__).with_name("data")
PROCESS = "b2b-sales"
THIRD_QUARTER = {"from": "2017-07-01", "to": "2017-10-01"}
FOURTH_QUARTER = {"from": "2017-10-01", "to": "2018-01-01"}


def rows(name: str) -> list[dict[str, str]]:
    """Return the rows of one of the demonstration's files."""
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


async def until_counted(api: Api, process: str, deals: int) -> None:
    """Wait until kpi has counted `deals` created deals of a process."""
    params = {"kpi": "deals_created", "scope": "org", "grain": "total", "process": process}
    for _ in range(1200):
        item = (await api.get("/kpi/v1/values", params | {"from": "2000-01-01", "to": "2100-01-01"}))["items"][0]
        if int(item["value"]) + int(item.get("undated", 0)) >= deals:
            return
        await asyncio.sleep(0.05)
    raise DemoFailure("kpi did not count the import within a minute")


async def values(api: Api, period: Mapping[str, str], kpis: str, scope: str = "org") -> dict[str, Json]:
    """Return KPI key -> item of one scope over one period of the imported process."""
    found: dict[str, Json] = {}
    for kpi in kpis.split():
        params = {"kpi": kpi, "scope": scope, "grain": "total", "process": PROCESS, **period}
        found[kpi] = (await api.get("/kpi/v1/values", params))["items"][0]
    return found
