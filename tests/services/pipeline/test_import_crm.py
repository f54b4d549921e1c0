"""The CRM Sales Opportunities file, imported whole, against the standard library's csv and decimal alone."""

import asyncio
import json
from collections import Counter, defaultdict
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from services.pipeline.use_cases.import_worker import ImportWorker
from tests.services.pipeline.importing import B2B, DATA, counts, crm_rows, errors_of, hand_in, imported, importer
from tests.services.pipeline.serving import Pipeline

FILE = (DATA / "sales_pipeline.csv").read_bytes()
SHANGHAI = ZoneInfo("Asia/Shanghai")


@pytest.fixture
async def b2b(pipeline: Pipeline) -> Pipeline:
    await pipeline.ok("POST", "/processes", B2B, 201)
    await pipeline.sent()
    return pipeline


def quarter(day: date) -> str:
    return f"{day.year}Q{(day.month + 2) // 3}"


async def deals(pipeline: Pipeline) -> dict[str, Any]:
    rows = await pipeline.rows(
        "SELECT deal.*, customer.name AS account FROM deal LEFT JOIN customer ON customer.id = deal.customer_id"
    )
    return {row.external_id: row for row in rows}


async def test_all_of_the_file_is_in_with_its_own_dates_amounts_and_owners(b2b: Pipeline):
    job = await imported(b2b, FILE)
    assert (job["status"], job["read_bytes"]) == ("completed", len(FILE))
    assert counts(job) == {
        "rows": 8800,
        "created": 8800,
        "updated": 0,
        "unchanged": 0,
        "rejected": 0,
        "undated": 500,
    }
    found, rows = await deals(b2b), crm_rows()
    assert len(rows) == len(found) == 8800
    assert Counter(deal.stage for deal in found.values()) == {
        "won": 4238,
        "lost": 2473,
        "engaging": 1589,
        "prospecting": 500,
    }
    for row in rows:
        deal = found[row["opportunity_id"]]
        assert deal.stage == row["deal_stage"].lower()
        assert deal.owner == f"external:{row['sales_agent']}"
        assert deal.product == row["product"].replace("GTXPro", "GTX Pro")
        assert deal.account == (row["account"] or None)
        assert deal.amount == (int(row["close_value"]) * 100 if row["close_value"] else None)
        entered = row["close_date"] or row["engage_date"]
        assert (deal.stage_entered_at and deal.stage_entered_at.astimezone(SHANGHAI).date().isoformat()) == (
            entered or None
        )


async def test_won_amounts_by_quarter_and_entries_by_day_are_those_of_the_file(b2b: Pipeline):
    await imported(b2b, FILE)
    wanted: dict[str, Decimal] = defaultdict(Decimal)
    entries: Counter[tuple[str, str]] = Counter()
    for row in crm_rows():
        if row["deal_stage"] == "Won":
            wanted[quarter(date.fromisoformat(row["close_date"]))] += Decimal(row["close_value"])
        if row["engage_date"]:
            entries["engaging", row["engage_date"]] += 1
        if row["close_date"]:
            entries[row["deal_stage"].lower(), row["close_date"]] += 1
    got: dict[str, Decimal] = defaultdict(Decimal)
    told: Counter[tuple[str, str]] = Counter()
    undated = 0
    for row in await b2b.rows("SELECT convert_from(value, 'UTF8') AS event FROM deal_history"):
        event = json.loads(row.event)
        stage, at = event["deal"]["stage"], event["occurred_at"]
        if at is None:
            undated += 1
            continue
        day = datetime.fromisoformat(at).astimezone(SHANGHAI).date()
        told[stage["code"], day.isoformat()] += 1
        if stage["kind"] == "won":
            got[quarter(day)] += Decimal(event["deal"]["amount"]) / 100
    assert got == wanted
    assert got["2017Q4"] == Decimal(2802496)
    assert told == entries
    assert undated == 500


async def test_the_file_again_changes_nothing_and_one_changed_cell_one_deal(b2b: Pipeline):
    await imported(b2b, FILE)
    await b2b.sent()
    again = await imported(b2b, FILE)
    assert (again["created"], again["updated"], again["unchanged"], again["undated"]) == (0, 0, 8800, 500)
    assert await b2b.announced() == []
    changed = FILE.replace(b"2017-03-01,1054\r\n", b"2017-03-01,1055\r\n", 1)
    assert changed != FILE
    once = await imported(b2b, changed)
    assert (once["updated"], once["unchanged"]) == (1, 8799)
    assert len(await b2b.announced()) == 1


async def test_one_bad_row_of_8800_leaves_8799_in(b2b: Pipeline):
    lines = FILE.split(b"\r\n")
    lines[4711] = lines[4711].replace(b"2017", b"2o17", 1)
    job = await imported(b2b, b"\r\n".join(lines))
    assert (job["created"], job["rejected"]) == (8799, 1)
    (error,) = await errors_of(b2b, job)
    assert (error["line"], error["column"], error["code"]) == ("4712", "engage_date", "not_a_date")
    assert error["row"] == lines[4711].decode()


async def test_a_worker_that_is_killed_again_and_again_loses_and_repeats_nothing(b2b: Pipeline):
    job = json.loads((await hand_in(b2b, FILE)).body)
    kills = 0
    while True:
        worker = asyncio.create_task(importer(b2b).run())
        # At another point of a batch each time: within its statements, before and behind its commit.
        await asyncio.sleep(0.05 + 0.06 * (kills % 11))
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        state = await b2b.ok("GET", f"/imports/{job['id']}")
        if state["status"] != "running":
            break
        kills += 1
    assert kills > 3
    assert (state["status"], state["created"], state["rejected"], state["undated"]) == ("completed", 8800, 0, 500)
    (row,) = await b2b.rows(
        "SELECT count(*) AS events, count(DISTINCT deal_id) AS deals, (SELECT count(*) FROM deal) AS now FROM deal_history"
    )
    assert (row.deals, row.now, row.events) == (8800, 8800, 8800 + 4238 + 2473)


async def test_two_workers_at_once_take_each_row_once(b2b: Pipeline):
    job = json.loads((await hand_in(b2b, b"\r\n".join(FILE.split(b"\r\n")[:3001]))).body)

    async def work(worker: ImportWorker) -> None:
        while await worker.step():
            pass

    await asyncio.gather(work(importer(b2b)), work(importer(b2b)))
    state = await b2b.ok("GET", f"/imports/{job['id']}")
    assert (state["status"], state["rows"], state["created"], state["rejected"]) == ("completed", 3000, 3000, 0)


async def test_the_loop_is_given_back_while_a_file_is_taken(b2b: Pipeline):
    await hand_in(b2b, FILE)
    worker = importer(b2b)
    laps: list[float] = []
    loop = asyncio.get_running_loop()

    async def tick() -> None:
        while True:
            start = loop.time()
            await asyncio.sleep(0)
            laps.append(loop.time() - start)

    ticking = asyncio.create_task(tick())
    while await worker.step():
        pass
    ticking.cancel()
    # Each of the 9 batches is 200 ms of work; in slices of about 10 ms a lap of 50 is a stumble of the machine.
    assert sum(lap > 0.05 for lap in laps) < 9
