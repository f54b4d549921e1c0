"""Imports over HTTP on a real database: what a caller gets for good, bad, repeated, changed and foreign files."""

import asyncio
import json
from typing import Any

import pytest

from services.pipeline.use_cases.import_worker import BATCH_ROWS
from shared.events.codec import Message, decode
from shared.events.pipeline import CustomerCreated, DealChanged, DealCourseCorrected, DealCreated, DealMoved
from tests.services.pipeline.importing import (
    B2B,
    CRM_MAPPING,
    HEADER,
    counts,
    errors_of,
    form,
    hand_in,
    imported,
    importer,
    poison,
)
from tests.services.pipeline.serving import Pipeline, person_id

WON = "A1,ann,GTXPro,Acme,Won,2017-03-01,2017-04-02,1054"
LOST = "A2,ann,MG Special,Acme,Lost,2017-03-03,2017-03-09,0"
ENGAGING = "A3,bea,GTX Basic,,Engaging,2017-05-01,,"
PROSPECT = "A4,bea,GTX Basic,,Prospecting,,,"


def file_of(*rows: str) -> str:
    return "\n".join([HEADER, *rows]) + "\n"


@pytest.fixture
async def b2b(pipeline: Pipeline) -> Pipeline:
    await pipeline.ok("POST", "/processes", B2B, 201)
    await pipeline.sent()
    return pipeline


async def course_of(pipeline: Pipeline, external_id: str) -> list[tuple[str, str | None]]:
    """The told entries of a deal, from its history over HTTP."""
    page = await pipeline.ok("GET", "/deals?limit=200")
    (deal,) = [deal for deal in page["items"] if deal["external_id"] == external_id]
    events = [event for event in await all_events(pipeline) if str(event.deal_id) == deal["id"]]
    course: list[tuple[str, str | None]] = []
    for event in events:
        if isinstance(event, DealCourseCorrected):
            course = [(entry.stage.code, entry.at and entry.at.isoformat()) for entry in event.course]
        elif isinstance(event, DealCreated | DealMoved):
            course.append((event.deal.stage.code, event.occurred_at and event.occurred_at.isoformat()))
    return course


async def all_events(pipeline: Pipeline) -> list[Any]:
    rows = await pipeline.rows("SELECT deal_id, headers, value FROM deal_history ORDER BY deal_id, version")
    return [decode(Message("pipeline.deals.v1", f"deal:{row.deal_id}", row.headers, row.value)) for row in rows]


async def deals_of(pipeline: Pipeline) -> dict[str, Any]:
    page = await pipeline.ok("GET", "/deals?limit=200")
    return {deal["external_id"]: deal for deal in page["items"]}


async def test_rows_become_deals_with_their_own_dates_and_nothing_is_dated_by_the_import(b2b: Pipeline):
    job = await imported(b2b, file_of(WON, LOST, ENGAGING, PROSPECT))
    assert job["status"] == "completed"
    assert counts(job) == {"rows": 4, "created": 4, "updated": 0, "unchanged": 0, "rejected": 0, "undated": 1}
    deals = await deals_of(b2b)
    assert {name: deal["status"] for name, deal in deals.items()} == {
        "A1": "won",
        "A2": "lost",
        "A3": "open",
        "A4": "open",
    }
    # A day begins in the organisation's zone: 2017-04-02 in Shanghai.
    assert deals["A1"]["closed_at"] == "2017-04-01T16:00:00Z"
    assert deals["A1"]["amount"] == {"amount": "1054.00", "currency": "USD"}
    assert deals["A2"]["amount"] == {"amount": "0.00", "currency": "USD"}
    assert deals["A3"]["amount"] is None
    assert (deals["A1"]["product"], deals["A2"]["product"]) == ("GTX Pro", "MG Special")
    assert deals["A1"]["owner"] == {"person_id": None, "external_id": "ann", "resolved": False}
    assert (deals["A4"]["stage"]["code"], deals["A4"]["stage_entered_at"]) == ("prospecting", None)
    assert await course_of(b2b, "A1") == [
        ("engaging", "2017-02-28T16:00:00+00:00"),
        ("won", "2017-04-01T16:00:00+00:00"),
    ]
    assert await course_of(b2b, "A4") == [("prospecting", None)]


async def test_customers_that_nobody_knows_become_undated_leads_once(b2b: Pipeline):
    await imported(b2b, file_of(WON, LOST, ENGAGING))
    created = [event for event in await b2b.announced() if isinstance(event, CustomerCreated)]
    assert [(event.lifecycle, event.occurred_at) for event in created] == [("lead", None)]
    customers = (await b2b.ok("GET", "/customers"))["items"]
    assert [(customer["name"], customer["external_id"]) for customer in customers] == [("Acme", "Acme")]
    deals = await deals_of(b2b)
    assert deals["A1"]["customer_id"] == deals["A2"]["customer_id"] == customers[0]["id"]
    assert deals["A3"]["customer_id"] is None


async def test_a_customer_made_by_hand_is_found_by_its_external_id(b2b: Pipeline):
    acme = await b2b.ok("POST", "/customers", {"name": "Acme Corporation", "external_id": "Acme"}, 201)
    await imported(b2b, file_of(WON))
    assert (await deals_of(b2b))["A1"]["customer_id"] == acme["id"]


async def test_the_same_file_twice_changes_nothing_at_all(b2b: Pipeline):
    await imported(b2b, file_of(WON, LOST, ENGAGING, PROSPECT))
    before = await b2b.rows("SELECT id, version, updated_at FROM deal ORDER BY id")
    await b2b.sent()
    job = await imported(b2b, file_of(WON, LOST, ENGAGING, PROSPECT))
    assert counts(job) == {"rows": 4, "created": 0, "updated": 0, "unchanged": 4, "rejected": 0, "undated": 1}
    assert await b2b.announced() == []
    assert await b2b.rows("SELECT id, version, updated_at FROM deal ORDER BY id") == before


async def test_a_person_who_becomes_known_later_is_the_same_owner(b2b: Pipeline):
    await imported(b2b, file_of(WON))
    await b2b.tell_people()
    await b2b.sent()
    job = await imported(b2b, file_of(WON, LOST))
    assert (job["created"], job["unchanged"]) == (1, 1)
    deals = await deals_of(b2b)
    assert deals["A1"]["owner"]["person_id"] == deals["A2"]["owner"]["person_id"] == str(person_id("ann"))


@pytest.mark.parametrize(
    ("row", "event", "stage"),
    [
        ("A1,ann,GTXPro,Acme,Won,2017-03-01,2017-04-02,2000", DealChanged, "won"),
        ("A1,bea,GTXPro,Acme,Won,2017-03-01,2017-04-02,1054", DealChanged, "won"),
        ("A1,ann,GTXPro,Acme,Lost,2017-03-01,2017-04-02,1054", DealCourseCorrected, "lost"),
        ("A1,ann,GTXPro,Acme,Won,2017-03-01,2017-04-05,1054", DealCourseCorrected, "won"),
    ],
)
async def test_a_changed_cell_changes_its_deal_and_no_other(b2b: Pipeline, row: str, event: type, stage: str):
    await imported(b2b, file_of(WON, LOST))
    await b2b.sent()
    job = await imported(b2b, file_of(row, LOST))
    assert (job["updated"], job["unchanged"]) == (1, 1)
    announced = await b2b.announced()
    assert [type(each) for each in announced] == [event]
    deal = (await deals_of(b2b))["A1"]
    assert (deal["stage"]["code"], deal["version"]) == (stage, 3)


async def test_a_deal_that_went_on_is_moved(b2b: Pipeline):
    await imported(b2b, file_of(ENGAGING))
    await b2b.sent()
    await imported(b2b, file_of("A3,bea,GTX Basic,,Won,2017-05-01,2017-06-01,500"))
    kinds = [type(event) for event in await b2b.announced()]
    assert kinds == [DealChanged, DealMoved]
    assert (await deals_of(b2b))["A3"]["status"] == "won"


async def test_an_old_file_does_not_take_back_what_happened_since(b2b: Pipeline):
    await imported(b2b, file_of(ENGAGING))
    deal = (await deals_of(b2b))["A3"]
    assert (await b2b.move(deal, "won")).status == 201
    job = await imported(b2b, file_of(ENGAGING))
    assert job["unchanged"] == 1
    assert (await deals_of(b2b))["A3"]["status"] == "won"


async def test_a_file_takes_back_what_it_told_before(b2b: Pipeline):
    await imported(b2b, file_of(WON, LOST))
    await b2b.sent()
    reopened = "A1,ann,GTXPro,Acme,Engaging,2017-03-01,,"
    job = await imported(b2b, file_of(reopened, LOST))
    assert (job["updated"], job["unchanged"]) == (1, 1)
    assert [type(event) for event in await b2b.announced()] == [DealChanged, DealCourseCorrected]
    deal = (await deals_of(b2b))["A1"]
    assert (deal["status"], deal["amount"], deal["closed_at"]) == ("open", None, None)
    assert await course_of(b2b, "A1") == [("engaging", "2017-02-28T16:00:00+00:00")]
    assert (await imported(b2b, file_of(reopened, LOST)))["unchanged"] == 2
    assert (await imported(b2b, file_of(WON, LOST)))["updated"] == 1
    assert (await deals_of(b2b))["A1"]["status"] == "won"


async def test_a_deal_that_a_file_turns_into_a_lost_one_has_its_reason_at_once(b2b: Pipeline):
    mapping = {**CRM_MAPPING, "lost_reason": "account"}
    await imported(b2b, file_of(WON), mapping=mapping)
    lost = WON.replace("Won", "Lost").replace("Acme", "price")
    assert (await imported(b2b, file_of(lost), mapping=mapping))["updated"] == 1
    assert (await deals_of(b2b))["A1"]["lost_reason"] == "price"
    assert (await imported(b2b, file_of(lost), mapping=mapping))["unchanged"] == 1


BAD_ROWS = [
    ("B1,ann,GTXPro,Acme,Won,2017-03-01,2017-04-02,10x", "close_value", "not_a_number"),
    ("B1,ann,GTXPro,Acme,Won,2017-03-01,2017-02-30,10", "close_date", "not_a_date"),
    ("B1,ann,GTXPro,Acme,Winning,2017-03-01,,10", "deal_stage", "unknown_stage"),
    (",ann,GTXPro,Acme,Won,2017-03-01,2017-04-02,10", "opportunity_id", "missing_value"),
    ("B1,ann,GTXPro,Acme,Won,2017-03-01,2017-04-02,10.001", "close_value", "not_an_amount"),
    ("B1,ann,GTXPro,Acme,Won,2017-03-01,2017-04-02,-1", "close_value", "negative_amount"),
    ("B1,ann,GTXPro,Acme", "", "wrong_number_of_cells"),
    ('B1,"ann"x,GTXPro,Acme,Won,2017-03-01,2017-04-02,10', "", "not_a_record"),
]


@pytest.mark.parametrize(("bad", "column", "code"), BAD_ROWS, ids=[code for *_, code in BAD_ROWS])
async def test_one_bad_row_leaves_all_others_in_and_names_line_column_and_code(
    b2b: Pipeline, bad: str, column: str, code: str
):
    job = await imported(b2b, file_of(WON, bad, LOST))
    assert counts(job) == {"rows": 3, "created": 2, "updated": 0, "unchanged": 0, "rejected": 1, "undated": 0}
    (error,) = await errors_of(b2b, job)
    assert (error["line"], error["column"], error["code"], error["row"]) == ("3", column, code, bad)
    assert set(await deals_of(b2b)) == {"A1", "A2"}


async def test_everything_wrong_with_a_row_is_told_in_the_language_of_the_reader(b2b: Pipeline):
    job = await imported(b2b, file_of("B1,ann,GTXPro,Acme,Won,soon,later,much"))
    assert job["rejected"] == 1
    english, chinese = await errors_of(b2b, job), await errors_of(b2b, job, "zh-CN")
    assert {(error["column"], error["code"]) for error in english} == {
        ("engage_date", "not_a_date"),
        ("close_date", "not_a_date"),
        ("close_value", "not_a_number"),
    }
    assert "'much' is not a number" in [error["message"] for error in english]
    assert "“much”不是数字" in [error["message"] for error in chinese]


async def test_an_id_that_the_file_has_twice_names_the_first_line(b2b: Pipeline):
    job = await imported(b2b, file_of(WON, LOST, WON.replace("1054", "9")))
    assert (job["created"], job["rejected"]) == (2, 1)
    (error,) = await errors_of(b2b, job)
    assert (error["line"], error["code"], error["message"]) == ("4", "duplicate_in_file", "Line 2 has the same id")
    assert (await deals_of(b2b))["A1"]["amount"]["amount"] == "1054.00"


async def test_a_row_that_looks_like_a_formula_is_harmless_in_the_error_file(b2b: Pipeline):
    job = await imported(b2b, file_of("=2+5,ann,GTXPro,Acme,Nowhere,,,"))
    (error,) = await errors_of(b2b, job)
    assert error["row"].startswith("'=2+5")


async def test_a_dry_run_tells_the_same_and_writes_nothing(b2b: Pipeline):
    content = file_of(WON, "B1,ann,GTXPro,Acme,Winning,,,", LOST, PROSPECT, WON)
    tried = await imported(b2b, content, dry_run=True)
    assert tried["dry_run"] is True
    assert await b2b.announced() == []
    assert await b2b.rows("SELECT 1 FROM deal UNION ALL SELECT 1 FROM customer") == []
    done = await imported(b2b, content)
    assert counts(tried) == counts(done)
    assert await errors_of(b2b, tried) == await errors_of(b2b, done)
    again = await imported(b2b, file_of(WON.replace("1054", "7"), LOST, ENGAGING), dry_run=True)
    assert (again["created"], again["updated"], again["unchanged"]) == (1, 1, 1)
    assert (await deals_of(b2b))["A1"]["amount"]["amount"] == "1054.00"


@pytest.mark.parametrize(("encoding", "told"), [("gb18030", "gb18030"), ("utf-8-sig", "utf-8"), ("utf-8", "utf-8")])
async def test_chinese_files_of_excel_and_others_are_read(b2b: Pipeline, encoding: str, told: str):
    content = '商机编号,销售,客户,阶段,进入日期,金额\n甲一,王伟,深圳市某某公司,谈判中,2017/3/1,"1,054.50"\n'
    mapping = {
        "process": "b2b-sales",
        "external_id": "商机编号",
        "owner": "销售",
        "customer": "客户",
        "amount": {"column": "金额", "currency": "CNY"},
        "stages": [{"stage": {"column": "阶段", "values": {"谈判中": "engaging"}}, "at": "进入日期"}],
        "fields": {"所在阶段": "阶段"},
    }
    job = await imported(b2b, content.encode(encoding), mapping=mapping)
    assert (job["encoding"], job["created"], job["rejected"]) == (told, 1, 0)
    (deal,) = (await deals_of(b2b)).values()
    assert (deal["external_id"], deal["owner"]["external_id"]) == ("甲一", "王伟")
    assert deal["amount"] == {"amount": "1054.50", "currency": "CNY"}
    assert deal["stage_entered_at"] == "2017-02-28T16:00:00Z"
    assert deal["fields"] == {"所在阶段": "谈判中"}
    assert [customer["name"] for customer in (await b2b.ok("GET", "/customers"))["items"]] == ["深圳市某某公司"]


@pytest.mark.parametrize(
    ("file_name", "content_type"),
    [
        ("deals.ndjson", "application/octet-stream"),
        ("deals", "application/x-ndjson"),
        ("deals", "application/octet-stream"),
    ],
)
async def test_ndjson_is_known_by_name_type_or_content(b2b: Pipeline, file_name: str, content_type: str):
    rows = [
        {"id": "N1", "who": {"id": "ann"}, "value": 12.5, "stage": "engaging", "on": "2017-03-01T10:00:00+08:00"},
        {"id": "N2", "value": None, "stage": "won", "on": "2017-03-02 10:00:00"},
    ]
    content = "\n".join([json.dumps(rows[0]), "", "[1]", json.dumps(rows[1])])
    mapping = {
        "process": "b2b-sales",
        "external_id": "id",
        "source": {"constant": "crm"},
        "owner": "who.id",
        "amount": {"column": "value", "currency": "USD"},
        "stages": [{"stage": {"column": "stage"}, "at": "/on"}],
    }
    job = await imported(b2b, content, mapping=mapping, file_name=file_name, content_type=content_type)
    assert (job["format"], job["created"], job["rejected"]) == ("ndjson", 2, 1)
    (error,) = await errors_of(b2b, job)
    assert (error["line"], error["code"], error["row"]) == ("3", "not_an_object", "[1]")
    deals = await deals_of(b2b)
    assert (deals["N1"]["amount"]["amount"], deals["N1"]["source"]) == ("12.50", "crm")
    # A time without a zone is one in the organisation's zone.
    assert (deals["N1"]["stage_entered_at"], deals["N2"]["closed_at"]) == (
        "2017-03-01T02:00:00Z",
        "2017-03-02T02:00:00Z",
    )


async def test_a_mapping_that_does_not_fit_is_refused_at_once_with_every_fault(b2b: Pipeline):
    mapping = {
        "process": "b2b-sales",
        "external_id": "id",
        "owner": "sales_agent",
        "colour": "product",
        "amount": {"column": "close_value"},
        "stages": [{"stage": "engaged", "at": "engage_date"}],
    }
    answer = await hand_in(b2b, file_of(WON), mapping=mapping)
    assert answer.status == 422
    problem = json.loads(answer.body)
    assert {(error["pointer"], error["code"]) for error in problem["errors"]} == {
        ("/mapping/colour", "unknown_field"),
        ("/mapping/amount/currency", "missing_value"),
    }
    del mapping["colour"], mapping["amount"]
    problem = json.loads((await hand_in(b2b, file_of(WON), mapping=mapping)).body)
    assert {(error["pointer"], error["code"]) for error in problem["errors"]} == {
        ("/mapping/external_id", "unknown_column"),
        ("/mapping/stages/0/stage", "unknown_stage"),
    }
    assert (await b2b.ok("GET", "/imports"))["items"] == []


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"kind": "invoices"}, "/kind"),
        ({"content": ""}, "/file"),
        ({"content": "a,a\n1,2\n"}, "/file"),
        ({"mapping": {**CRM_MAPPING, "process": "nowhere"}}, "/mapping/process"),
        ({"mapping": []}, "/mapping"),
    ],
)
async def test_what_cannot_be_imported_is_422(b2b: Pipeline, options: dict[str, Any], pointer: str):
    content = options.pop("content", file_of(WON))
    answer = await hand_in(b2b, content, **options)
    assert answer.status == 422
    assert pointer in {error["pointer"] for error in json.loads(answer.body)["errors"]}


async def test_imports_are_for_administrators_only(b2b: Pipeline):
    assert (await hand_in(b2b, file_of(WON), role="rep")).status == 403
    job = await imported(b2b, file_of(WON))
    for path in ("/imports", f"/imports/{job['id']}", f"/imports/{job['id']}/errors"):
        assert (await b2b.call("GET", path, role="manager", person="rita")).status == 403


async def test_an_idempotency_key_makes_one_import_of_two_requests(b2b: Pipeline):
    key = {"idempotency-key": "file-1"}
    first = await hand_in(b2b, file_of(WON), headers=key)
    second = await hand_in(b2b, file_of(WON), headers=key)
    assert second.headers["idempotency-replayed"] == "true"
    assert json.loads(first.body) == json.loads(second.body)
    assert (await hand_in(b2b, file_of(LOST), headers=key)).status == 422
    assert len((await b2b.ok("GET", "/imports"))["items"]) == 1


async def test_the_list_is_paged_newest_first(b2b: Pipeline):
    for row in (WON, LOST, ENGAGING):
        await imported(b2b, file_of(row))
    page = await b2b.ok("GET", "/imports?limit=2")
    rest = await b2b.ok("GET", f"/imports?limit=2&cursor={page['next_cursor']}")
    ids = [job["id"] for job in (*page["items"], *rest["items"])]
    assert (len(ids), ids, rest["next_cursor"]) == (3, sorted(ids, reverse=True), None)


async def test_a_cancelled_import_keeps_what_it_took_and_leaves_the_rest(b2b: Pipeline):
    rows = [f"C{n},ann,GTXPro,,Engaging,2017-03-01,," for n in range(BATCH_ROWS + 200)]
    job = json.loads((await hand_in(b2b, file_of(*rows))).body)
    worker = importer(b2b)
    assert await worker.step()
    cancelled = await b2b.ok("POST", f"/imports/{job['id']}/cancellations", status=200)
    assert (cancelled["status"], cancelled["created"]) == ("cancelled", BATCH_ROWS)
    assert not await worker.step()
    assert (await b2b.rows("SELECT count(*) AS n FROM deal"))[0].n == BATCH_ROWS
    await b2b.problem("POST", f"/imports/{job['id']}/cancellations", status=409)


async def test_a_row_that_the_database_does_not_take_is_told_and_holds_up_no_other(b2b: Pipeline):
    await poison(b2b, "C300")
    rows = [f"C{n},ann,GTXPro,,Engaging,2017-03-01,," for n in range(700)]
    job = await imported(b2b, file_of(*rows))
    assert (job["status"], job["rows"], job["created"], job["rejected"]) == ("completed", 700, 699, 1)
    (error,) = await errors_of(b2b, job)
    assert (error["line"], error["code"], error["row"]) == ("302", "not_recorded", rows[300])


async def test_a_lost_connection_costs_a_batch_its_try_and_nothing_else(b2b: Pipeline):
    rows = [f"C{n},ann,GTXPro,Acme {n},Engaging,2017-03-01,," for n in range(2000)]
    job = json.loads((await hand_in(b2b, file_of(*rows))).body)
    other = await b2b.database.connect_dedicated()
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND xact_start IS NOT NULL"
    failures = 0
    for round_number in range(40):
        working = asyncio.create_task(importer(b2b).step())
        if round_number < 4:
            await asyncio.sleep(0.02 * (round_number + 1))
            await other.execute(f"{cut} AND datname = current_database()")
        (result,) = await asyncio.gather(working, return_exceptions=True)
        failures += isinstance(result, BaseException)
        if result is False:
            break
    await other.close()
    assert failures > 0
    state = await b2b.ok("GET", f"/imports/{job['id']}")
    assert (state["status"], state["created"], state["rejected"]) == ("completed", 2000, 0)
    (row,) = await b2b.rows("SELECT count(*) AS deals, sum(version) AS versions FROM deal")
    assert (row.deals, row.versions) == (2000, 2000)


async def test_stages_with_tasks_open_only_those_of_the_present_stage_and_facts_tell_what_they_broke(
    field_sales: Pipeline,
):
    mapping = {
        "process": "field-sales",
        "external_id": "id",
        "stages": [{"stage": "visit", "at": "visited"}, {"stage": "offer", "at": "offered"}],
    }
    await imported(field_sales, "id,visited,offered\nF1,2026-11-02,2026-11-10\n", mapping=mapping)
    deal = (await deals_of(field_sales))["F1"]
    tasks = (await field_sales.ok("GET", f"/tasks?deal_id={deal['id']}"))["items"]
    assert [(task["code"], task["status"]) for task in tasks] == [("price", "open")]
    moved = [event for event in await field_sales.announced() if isinstance(event, DealMoved)]
    assert [event.broke for event in moved] == [("tasks_done:call", "field_present:fields.budget")]


async def test_customers_are_imported_and_repeated_likewise(b2b: Pipeline):
    mapping = {
        "external_id": "account",
        "name": "account",
        "sector": "sector",
        "segment": "size",
        "lifecycle": {"column": "state", "values": {"kunde": "customer"}},
        "lifecycle_at": "since",
        "contact": {"phone": "phone"},
    }
    content = (
        "account,sector,size,state,since,phone\nAcme,tools,large,kunde,2017-01-05,+86 1\nBeta,toys,,lead,,\n"
        "Ceta,toys,,guest,,\n"
    )
    job = await imported(b2b, content, kind="customers", mapping=mapping)
    assert (job["created"], job["rejected"]) == (2, 1)
    (error,) = await errors_of(b2b, job)
    assert (error["line"], error["column"], error["code"]) == ("4", "state", "unknown_lifecycle")
    customers = {each["external_id"]: each for each in (await b2b.ok("GET", "/customers"))["items"]}
    acme, beta = customers["Acme"], customers["Beta"]
    assert (acme["lifecycle"], acme["lifecycle_at"]) == ("customer", "2017-01-04T16:00:00Z")
    assert (acme["sector"], acme["segment"], acme["contact"]) == ("tools", "large", {"phone": "+86 1"})
    assert (beta["lifecycle"], beta["lifecycle_at"]) == ("lead", None)
    await b2b.sent()
    again = await imported(b2b, content, kind="customers", mapping=mapping)
    assert (again["unchanged"], await b2b.announced()) == (2, [])
    changed = await imported(b2b, content.replace("Beta,toys", "Beta,games"), kind="customers", mapping=mapping)
    assert (changed["updated"], changed["unchanged"]) == (1, 1)
    # Deals that name them by the same external id are theirs.
    await imported(b2b, file_of(WON))
    assert (await deals_of(b2b))["A1"]["customer_id"] == acme["id"]


STAGE_LOG = {
    "process": "b2b-sales",
    "external_id": "id",
    "stage": {"column": "state", "values": {"Prospect": "prospecting", "Talk": "engaging", "Yes": "won"}},
    "at": "on",
    "owner": "who",
}


async def test_a_stage_log_is_gathered_per_deal_in_whatever_order_its_rows_stand(b2b: Pipeline):
    content = (
        "id,state,on,who\nS1,Yes,2017-03-09,ann\nS2,Talk,2017-03-01,\nS1,Prospect,2017-03-01,ann\n"
        "S1,Talk,2017-03-05,ann\nS3,Maybe,2017-03-05,ann\nS2,Prospect,,\n"
    )
    job = await imported(b2b, content, kind="stage_log", mapping=STAGE_LOG)
    assert counts(job) == {"rows": 6, "created": 2, "updated": 0, "unchanged": 0, "rejected": 1, "undated": 1}
    assert [stage for stage, _ in await course_of(b2b, "S1")] == ["prospecting", "engaging", "won"]
    assert await course_of(b2b, "S2") == [("prospecting", None), ("engaging", "2017-02-28T16:00:00+00:00")]
    await b2b.sent()
    again = await imported(b2b, content, kind="stage_log", mapping=STAGE_LOG)
    assert (again["unchanged"], await b2b.announced()) == (2, [])
    news = "id,state,on,who\nS2,Yes,2017-04-01,ann\n"
    assert (await imported(b2b, news, kind="stage_log", mapping=STAGE_LOG))["updated"] == 1
    assert [stage for stage, _ in await course_of(b2b, "S2")] == ["prospecting", "engaging", "won"]


async def test_files_and_errors_expire_and_the_counts_stay(b2b: Pipeline):
    job = await imported(b2b, file_of(WON, "B1,ann,GTXPro,Acme,Winning,,,"))
    b2b.clock.advance(days=29)
    await b2b.run_job("expiry")
    assert len(await errors_of(b2b, job)) == 1
    b2b.clock.advance(days=2)
    await b2b.run_job("expiry")
    assert await errors_of(b2b, job) == []
    assert await b2b.rows("SELECT 1 FROM import_chunk") == []
    assert (await b2b.ok("GET", f"/imports/{job['id']}"))["rejected"] == 1


async def test_a_line_too_long_for_a_row_is_one_bad_row(b2b: Pipeline):
    # Its last part looks like a row of its own.
    too_long = "A9,ann," + "x" * 600_000 + "\r" + PROSPECT.replace("A4", "A10")
    job = await imported(b2b, file_of(PROSPECT, too_long, ENGAGING))
    assert counts(job) == {"rows": 3, "created": 2, "updated": 0, "unchanged": 0, "rejected": 1, "undated": 1}
    assert set(await deals_of(b2b)) == {"A3", "A4"}
    assert [(error["line"], error["code"]) for error in await errors_of(b2b, job)] == [("3", "not_a_record")]


async def test_a_misspelt_part_of_the_form_is_refused(b2b: Pipeline):
    fields = {"kind": "deals", "mapping": json.dumps(CRM_MAPPING), "dryrun": "true"}
    body, form_type = form(fields, file_of(WON).encode(), "deals.csv", "text/csv")
    problem = await b2b.problem("POST", "/imports", body, headers={"content-type": form_type}, status=422)
    assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [("/dryrun", "unknown_field")]
    assert await deals_of(b2b) == {}
