"""Deals over HTTP: made, changed, listed, told in full and taken back, within the caller's scope."""

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from shared.clock import rfc3339
from shared.events.pipeline import DealChanged, DealCreated, DealDeleted
from tests.services.pipeline.building import NOW
from tests.services.pipeline.serving import Pipeline, person_id


async def listed(pipeline: Pipeline, query: str = "", **options: Any) -> list[str]:
    return [item["name"] for item in (await pipeline.ok("GET", f"/deals{query}", **options))["items"]]


async def test_a_deal_is_made_with_all_its_fields(field_sales: Pipeline):
    customer = await field_sales.ok("POST", "/customers", {"name": "Harbour Works"}, 201)
    body = {
        "name": "Pumps",
        "process": "field-sales",
        "customer_id": customer["id"],
        "owner": {"external_id": "ann"},
        "amount": {"amount": "1280.5", "currency": "CNY"},
        "expected_close_on": "2026-12-31",
        "external_id": "crm-1",
        "product": "GTX",
        "source": "referral",
        "fields": {"budget": True, "score": 61.5, "note": "二泵", "n": 3},
    }
    await field_sales.sent()
    answer = await field_sales.call("POST", "/deals", body)
    deal = json.loads(answer.body)
    assert (answer.status, answer.headers["etag"]) == (201, '"1"')
    assert answer.headers["location"] == f"/pipeline/v1/deals/{deal['id']}"
    assert deal["owner"] == {"person_id": str(person_id("ann")), "external_id": "ann", "resolved": True}
    assert deal["amount"] == {"amount": "1280.50", "currency": "CNY"}
    assert (deal["stage"]["code"], deal["status"], deal["version"]) == ("visit", "open", 1)
    # Two business days after a Monday morning.
    assert deal["sla_due_at"] == rfc3339(datetime.fromisoformat(deal["stage_entered_at"]) + timedelta(days=2))
    for name in ("customer_id", "expected_close_on", "external_id", "product", "source", "fields"):
        assert deal[name] == body[name]
    read = await field_sales.call("GET", f"/deals/{deal['id']}")
    assert (json.loads(read.body), read.headers["etag"]) == (deal, '"1"')
    unchanged = await field_sales.call("GET", f"/deals/{deal['id']}", headers={"if-none-match": '"1"'})
    assert unchanged.status == 304
    (event,) = await field_sales.announced()
    assert isinstance(event, DealCreated)
    assert (event.deal.owner, event.deal.amount) == (str(person_id("ann")), 128050)
    assert len((await field_sales.ok("GET", f"/tasks?deal_id={deal['id']}"))["items"]) == 2


async def test_every_bad_field_is_told_at_once(field_sales: Pipeline):
    body = {
        "name": "",
        "process": "field-sales",
        "customer_id": "x",
        "owner": {"external_id": "ann", "person_id": str(person_id("ann"))},
        "amount": {"amount": "-1.00", "currency": "CNY"},
        "expected_close_on": "tomorrow",
        "fields": {"deep": {"er": 1}},
        "surprise": 1,
    }
    problem = await field_sales.problem("POST", "/deals", body)
    pointers = {error["pointer"] for error in problem["errors"]}
    assert pointers == {
        "/name", "/customer_id", "/owner", "/amount", "/expected_close_on", "/fields/deep", "/surprise",
    }  # fmt: skip


@pytest.mark.parametrize("day", [1767225600, "1767225600", "2026-12-31T00:00:00Z"])
async def test_numbers_and_times_are_no_days(pipeline: Pipeline, day: object):
    problem = await pipeline.problem("POST", "/deals", {"name": "Pumps", "expected_close_on": day}, 422)
    assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [
        ("/expected_close_on", "invalid_format")
    ]


async def test_what_is_named_must_be_there(field_sales: Pipeline):
    body = {"name": "Pumps", "process": "nothing", "owner": {"external_id": "ann"}, "customer_id": str(person_id("x"))}
    problem = await field_sales.problem("POST", "/deals", body)
    assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [
        ("/process", "unknown_process"),
        ("/customer_id", "unknown_customer"),
    ]


async def test_the_owner_is_the_caller_unless_named_and_may_be_unknown(field_sales: Pipeline):
    own = await field_sales.ok("POST", "/deals", {"name": "Mine"}, 201, role="rep", person="ann")
    assert own["owner"]["external_id"] == "ann"
    assert own["process"] == "standard"
    unknown = await field_sales.deal(owner={"external_id": "new.hire"})
    assert unknown["owner"] == {"person_id": None, "external_id": "new.hire", "resolved": False}
    problem = await field_sales.problem("POST", "/deals", {"name": "Nobody's"})
    assert problem["errors"][0]["pointer"] == "/owner"


async def test_an_owner_who_becomes_known_is_resolved(pipeline: Pipeline):
    await pipeline.publish()
    early = await pipeline.deal()
    assert not early["owner"]["resolved"]
    await pipeline.tell_people()
    late = await pipeline.ok("GET", f"/deals/{early['id']}", role="rep", person=str(person_id("ann")))
    assert late["owner"] == {"person_id": str(person_id("ann")), "external_id": "ann", "resolved": True}
    assert await listed(pipeline, f"?owner_id={person_id('ann')}") == ["Pumps"]


async def test_row_scopes_hold_for_reading_listing_and_changing(field_sales: Pipeline):
    deals = {who: await field_sales.deal(name=who, owner={"external_id": who}) for who in ("ann", "ben", "cid")}
    assert sorted(await listed(field_sales)) == ["ann", "ben", "cid"]
    assert await listed(field_sales, role="rep", person="ann") == ["ann"]
    assert sorted(await listed(field_sales, role="manager", person="rita")) == ["ann", "ben"]
    assert await listed(field_sales, f"?owner_id={person_id('cid')}", role="manager", person="rita") == []
    for path in ("", "/history", "/moves/options"):
        await field_sales.problem("GET", f"/deals/{deals['cid']['id']}{path}", status=404, role="rep", person="ann")
    cid = f"/deals/{deals['cid']['id']}"
    headers = {"if-match": "*"}
    await field_sales.problem("PATCH", cid, {"name": "x"}, status=404, role="manager", person="rita", headers=headers)
    await field_sales.problem("DELETE", cid, status=404, role="rep", person="ann", headers=headers)


async def test_nobody_gives_a_deal_to_an_owner_out_of_their_scope(field_sales: Pipeline):
    body = {"name": "Pumps", "owner": {"external_id": "cid"}}
    problem = await field_sales.problem("POST", "/deals", body, status=403, role="manager", person="rita")
    assert problem["code"] == "out_of_scope"
    deal = await field_sales.deal()
    given = await field_sales.change(
        f"/deals/{deal['id']}", {"owner": {"external_id": "ben"}}, role="manager", person="rita"
    )
    assert given["owner"]["external_id"] == "ben"
    headers = {"if-match": "*"}
    give = {"owner": {"external_id": "ben"}}
    await field_sales.problem("PATCH", f"/deals/{deal['id']}", give, 404, role="rep", person="ann", headers=headers)


async def test_changes_are_merged_told_and_versioned(field_sales: Pipeline):
    deal = await field_sales.deal(amount={"amount": "5", "currency": "CNY"}, fields={"a": 1, "b": 2})
    await field_sales.sent()
    path = f"/deals/{deal['id']}"
    changed = await field_sales.change(path, {"amount": None, "fields": {"a": None, "c": "x"}, "product": "GTX"})
    assert (changed["version"], changed["amount"], changed["fields"]) == (2, None, {"b": 2, "c": "x"})
    (event,) = await field_sales.announced()
    assert isinstance(event, DealChanged)
    assert event.changed == ("amount", "currency", "fields.a", "fields.c", "product")
    assert await field_sales.change(path, {"product": "GTX", "fields": {"b": 2}}) == changed
    assert await field_sales.sent() == []


async def test_changes_need_the_version_they_change(field_sales: Pipeline):
    path = f"/deals/{(await field_sales.deal())['id']}"
    assert (await field_sales.problem("PATCH", path, {"name": "x"}, 428))["code"] == "precondition_required"
    stale = await field_sales.call("PATCH", path, {"name": "x"}, headers={"if-match": '"9"'})
    assert (stale.status, stale.headers["etag"]) == (412, '"1"')
    assert (await field_sales.ok("PATCH", path, {"name": "x"}, headers={"if-match": '"1"'}))["name"] == "x"
    await field_sales.problem("PATCH", path, {"name": None, "process": "x"}, headers={"if-match": "*"})
    await field_sales.problem("DELETE", path, status=428)


async def test_of_two_changes_at_once_one_is_stale(field_sales: Pipeline):
    path = f"/deals/{(await field_sales.deal())['id']}"
    answers = await asyncio.gather(
        *(field_sales.call("PATCH", path, {"product": f"P{n}"}, headers={"if-match": '"1"'}) for n in range(4))
    )
    assert sorted(answer.status for answer in answers) == [200, 412, 412, 412]


async def test_external_ids_are_unique_for_each_source(field_sales: Pipeline):
    first = await field_sales.deal(external_id="7", source="crm")
    taken = {"name": "Pumps", "owner": {"external_id": "ann"}, "external_id": "7", "source": "crm"}
    assert (await field_sales.problem("POST", "/deals", taken, 409))["code"] == "external_id_taken"
    await field_sales.deal(external_id="7", source="other")
    await field_sales.deal(external_id="7")
    await field_sales.problem("POST", "/deals", {**taken, "source": None}, 409)
    await field_sales.ok("DELETE", f"/deals/{first['id']}", status=204, headers={"if-match": "*"})
    await field_sales.deal(external_id="7", source="crm")


async def test_a_retry_with_its_key_makes_one_deal(field_sales: Pipeline):
    body = {"name": "Pumps", "owner": {"external_id": "ann"}}
    key = {"idempotency-key": "deal-1"}
    first = await field_sales.call("POST", "/deals", body, headers=key)
    again = await field_sales.call("POST", "/deals", body, headers=key)
    assert (again.status, again.body, again.headers["idempotency-replayed"]) == (201, first.body, "true")
    assert len(await listed(field_sales)) == 1
    await field_sales.problem("POST", "/deals", {**body, "name": "Other"}, headers=key)


async def test_lists_are_filtered(field_sales: Pipeline):
    customer = await field_sales.ok("POST", "/customers", {"name": "Harbour Works"}, 201)
    first = await field_sales.deal(name="first", customer_id=customer["id"])
    field_sales.clock.advance(hours=1)
    await field_sales.ok("POST", "/deals", {"name": "second", "owner": {"external_id": "ben"}}, 201)
    await field_sales.move(first, "dropped", lost_reason="price")
    for query, names in [
        ("process=field-sales", ["first"]),
        ("stage=prospecting", ["second"]),
        ("status=lost", ["first"]),
        ("status=open", ["second"]),
        ("owner_id=ben", ["second"]),
        (f"customer_id={customer['id']}", ["first"]),
        (f"updated_since={quote(rfc3339(NOW + timedelta(minutes=59)))}", ["first", "second"]),
        (f"updated_since={quote(rfc3339(NOW + timedelta(hours=2)))}", []),
        ("sort=created_at", ["first", "second"]),
        ("sort=-name", ["second", "first"]),
    ]:
        assert await listed(field_sales, f"?{query}") == names, query
    for query in ("colour=red", "sort=owner", "status=deleted", "limit=0", "limit=201", "updated_since=2026-01-01"):
        await field_sales.problem("GET", f"/deals?{query}")


@pytest.mark.parametrize("sort", ["-updated_at", "created_at", "amount", "-amount", "name"])
async def test_pages_hold_everything_once_in_order(field_sales: Pipeline, sort: str):
    for number in (3, 1, None, 2, 1, None, 5):
        amount = None if number is None else {"amount": str(number), "currency": "CNY"}
        await field_sales.deal(name=f"deal {number}", amount=amount)
    whole = (await field_sales.ok("GET", f"/deals?sort={sort}"))["items"]
    found: list[Any] = []
    path = f"/deals?sort={sort}&limit=2"
    while path:
        page = await field_sales.call("GET", path)
        found += json.loads(page.body)["items"]
        link = page.headers.get("link")
        path = link.split(">")[0].removeprefix("</pipeline/v1") if link else ""
    assert found == whole
    assert len({deal["id"] for deal in found}) == 7
    first = await field_sales.ok("GET", f"/deals?sort={sort}&limit=2")
    mixed = await field_sales.problem(
        "GET", f"/deals?sort=-created_at&limit=2&cursor={first['next_cursor']}", status=400
    )
    assert mixed["code"] == "cursor_mismatch"


async def test_a_history_tells_what_from_to_at_by_and_why(field_sales: Pipeline):
    deal = await field_sales.deal()
    await field_sales.change(f"/deals/{deal['id']}", {"product": "GTX"}, role="rep", person="ann")
    await field_sales.move(deal, "offer", override={"reason": "in a hurry"}, role="manager", person="rita")
    await field_sales.move(deal, "dropped", lost_reason="price")
    items = (await field_sales.ok("GET", f"/deals/{deal['id']}/history"))["items"]
    assert [(item["version"], item["type"], item["from"], item["to"], item["by"], item["why"]) for item in items] == [
        (1, "created", None, "visit", "admin", None),
        (2, "changed", None, None, "ann", None),
        (3, "moved", "visit", "offer", "rita", "in a hurry"),
        (4, "moved", "offer", "dropped", "admin", "price"),
    ]
    assert items[1]["changed"] == ["product"]
    assert (items[2]["overridden"], len(items[2]["broke"])) == (True, 2)
    assert all(item["at"] and item["recorded_at"] for item in items)
    page = await field_sales.ok("GET", f"/deals/{deal['id']}/history?limit=3")
    rest = await field_sales.ok("GET", f"/deals/{deal['id']}/history?limit=3&cursor={page['next_cursor']}")
    assert page["items"] + rest["items"] == items


async def test_a_deleted_deal_is_gone_its_text_erased_and_its_numbers_taken_back(field_sales: Pipeline):
    deal = await field_sales.deal(name="Secret name", fields={"note": "secret note"})
    await field_sales.ok("POST", "/tasks", {"deal_id": deal["id"], "title": "secret task"}, 201)
    await field_sales.move(deal, "offer", override={"reason": "secret reason"})
    await field_sales.sent()
    await field_sales.ok("DELETE", f"/deals/{deal['id']}", status=204, headers={"if-match": "*"})
    await field_sales.problem("GET", f"/deals/{deal['id']}", status=404)
    assert await listed(field_sales) == []
    assert (await field_sales.ok("GET", f"/tasks?deal_id={deal['id']}"))["items"] == []
    (event,) = await field_sales.announced()
    assert isinstance(event, DealDeleted)
    assert (event.deal.status, event.version) == ("deleted", 4)
    for table in ("deal", "deal_history", "task"):
        for row in await field_sales.rows(f"SELECT to_jsonb({table})::text AS whole FROM {table}"):
            assert "ecret" not in row.whole
    values = await field_sales.rows("SELECT convert_from(value, 'UTF8') AS value FROM deal_history")
    assert len(values) == 4
    assert not any("ecret" in row.value for row in values)


async def test_true_is_not_one_and_no_number_is_rounded(pipeline: Pipeline):
    body = {"name": "Pumps", "owner": {"external_id": "ann"}, "fields": {"agreed": 1}}
    deal = await pipeline.ok("POST", "/deals", body, 201)
    path, any_version = f"/deals/{deal['id']}", {"if-match": "*"}
    changed = await pipeline.ok("PATCH", path, {"fields": {"agreed": True}}, headers=any_version)
    assert (changed["fields"]["agreed"], changed["version"]) == (True, 2)
    task = (await pipeline.ok("GET", f"/tasks?deal_id={deal['id']}"))["items"][0]
    for result in (0, False):
        told = {"result": {"pleased": result}}
        task = await pipeline.ok("PATCH", f"/tasks/{task['id']}", told, headers=any_version)
        assert task["result"]["pleased"] is result
    for value, code in ((2**53, "too_large"), (-(2**60), "too_large"), ({"a": 1}, "wrong_type")):
        bad = {"fields": {"size": value}}
        problem = await pipeline.problem("PATCH", path, bad, headers=any_version, status=422)
        assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [("/fields/size", code)]


async def test_blanks_are_no_lost_reason(pipeline: Pipeline):
    deal = await pipeline.ok("POST", "/deals", {"name": "Pumps", "owner": {"external_id": "ann"}}, 201)
    path, any_version = f"/deals/{deal['id']}", {"if-match": "*"}
    problem = await pipeline.problem("PATCH", path, {"lost_reason": "   "}, headers=any_version, status=422)
    assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [("/lost_reason", "blank")]


async def test_a_filter_is_given_once(pipeline: Pipeline):
    problem = await pipeline.problem("GET", "/deals?status=open&status=won&limit=5", status=422)
    assert [(error["parameter"], error["code"]) for error in problem["errors"]] == [("status", "repeated_parameter")]
