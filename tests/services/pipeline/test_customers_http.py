"""Customers over HTTP: made, changed with a dated lifecycle that may go back, listed, erased."""

import json
from datetime import timedelta
from typing import Any

from shared.clock import rfc3339
from shared.events.pipeline import CustomerChanged, CustomerCreated, CustomerErased
from tests.services.pipeline.building import NOW
from tests.services.pipeline.serving import Pipeline, person_id


async def made(pipeline: Pipeline, **changes: Any) -> Any:
    options = {name: changes.pop(name) for name in ("role", "person") if name in changes}
    return await pipeline.ok("POST", "/customers", {"name": "Harbour Works", **changes}, 201, **options)


async def listed(pipeline: Pipeline, query: str = "", **options: Any) -> list[str]:
    return [item["name"] for item in (await pipeline.ok("GET", f"/customers{query}", **options))["items"]]


async def test_a_customer_is_made_and_told_without_its_text(field_sales: Pipeline):
    contact = {"name": "Li Wei", "phone": "+86 10 1234"}
    body = {"name": "Harbour Works", "segment": "industry", "sector": "logistics", "source": "fair", "contact": contact}
    answer = await field_sales.call("POST", "/customers", body)
    customer = json.loads(answer.body)
    assert answer.headers["location"] == f"/pipeline/v1/customers/{customer['id']}"
    assert (customer["lifecycle"], customer["contact"], customer["owner"]) == ("lead", contact, None)
    assert customer["lifecycle_at"] == customer["created_at"]
    (message,) = await field_sales.sent()
    assert "Harbour" not in message.value.decode()
    assert "Li Wei" not in message.value.decode()
    assert message.topic == "pipeline.customers.v1"
    read = await field_sales.call("GET", f"/customers/{customer['id']}")
    assert (json.loads(read.body), read.headers["etag"]) == (customer, '"1"')


async def test_the_lifecycle_is_dated_and_may_go_back(field_sales: Pipeline):
    path = f"/customers/{(await made(field_sales))['id']}"
    since = rfc3339(NOW - timedelta(days=2))
    dated = await field_sales.change(path, {"lifecycle": "qualified", "lifecycle_at": since})
    assert (dated["lifecycle"], dated["lifecycle_at"], dated["version"]) == ("qualified", since, 2)
    back = await field_sales.change(path, {"lifecycle": "lead"})
    assert back["lifecycle_at"] == back["updated_at"]
    assert await field_sales.change(path, {"lifecycle": "lead"}) == back
    first, second, third = await field_sales.announced()
    assert isinstance(first, CustomerCreated)
    assert isinstance(second, CustomerChanged)
    assert isinstance(third, CustomerChanged)
    assert (second.lifecycle_before, second.lifecycle, rfc3339(second.occurred_at)) == ("lead", "qualified", since)
    assert (third.lifecycle_before, third.lifecycle, third.version) == ("qualified", "lead", 3)
    items = (await field_sales.ok("GET", f"{path}/history"))["items"]
    assert [(item["version"], item["type"], item["lifecycle_before"], item["lifecycle"]) for item in items] == [
        (1, "created", None, "lead"),
        (2, "changed", "lead", "qualified"),
        (3, "changed", "qualified", "lead"),
    ]


async def test_changes_are_merged_and_need_a_version(field_sales: Pipeline):
    path = f"/customers/{(await made(field_sales, contact={'phone': '1', 'note': 'x'}, segment='a'))['id']}"
    await field_sales.problem("PATCH", path, {"name": "x"}, 428)
    await field_sales.problem("PATCH", path, {"name": "x"}, 412, headers={"if-match": '"9"'})
    changed = await field_sales.ok(
        "PATCH", path, {"contact": {"note": None, "email": "a@b"}, "segment": None}, headers={"if-match": '"1"'}
    )
    assert (changed["contact"], changed["segment"]) == ({"phone": "1", "email": "a@b"}, None)
    bad = await field_sales.problem(
        "PATCH", path, {"lifecycle": "friend", "contact": {"fax": "1"}}, headers={"if-match": "*"}
    )
    assert {error["pointer"] for error in bad["errors"]} == {"/lifecycle", "/contact/fax"}


async def test_external_ids_are_unique_for_each_source(field_sales: Pipeline):
    await made(field_sales, external_id="7", source="crm")
    taken = {"name": "Other", "external_id": "7", "source": "crm"}
    assert (await field_sales.problem("POST", "/customers", taken, 409))["code"] == "external_id_taken"
    other = await made(field_sales, external_id="7")
    clash = {"source": "crm"}
    await field_sales.problem("PATCH", f"/customers/{other['id']}", clash, 409, headers={"if-match": "*"})


async def test_a_rep_sees_own_customers_nobodys_and_those_of_own_deals(field_sales: Pipeline):
    await made(field_sales, name="Nobody's")
    await made(field_sales, name="Ann's", role="rep", person="ann")
    await made(field_sales, name="Cid's", owner={"external_id": "cid"})
    worked = await made(field_sales, name="Worked on", owner={"external_id": "cid"})
    await field_sales.deal(customer_id=worked["id"])
    assert sorted(await listed(field_sales, role="rep", person="ann")) == ["Ann's", "Nobody's", "Worked on"]
    assert sorted(await listed(field_sales, role="manager", person="rita")) == ["Ann's", "Nobody's", "Worked on"]
    assert await listed(field_sales, f"?owner_id={person_id('cid')}&sort=name") == ["Cid's", "Worked on"]
    hidden = (await field_sales.ok("GET", "/customers?sort=name"))["items"][1]
    assert hidden["name"] == "Cid's"
    await field_sales.problem("GET", f"/customers/{hidden['id']}", status=404, role="rep", person="ann")
    await field_sales.problem(
        "PATCH", f"/customers/{hidden['id']}", {"name": "x"}, 404, role="rep", person="ann", headers={"if-match": "*"}
    )
    body = {"name": "Pumps", "customer_id": hidden["id"]}
    problem = await field_sales.problem("POST", "/deals", body, role="rep", person="ann")
    assert problem["errors"][0]["code"] == "unknown_customer"


async def test_lists_are_filtered_and_paged(field_sales: Pipeline):
    await made(field_sales, name="b", lifecycle="customer", segment="x")
    await made(field_sales, name="a", external_id="7")
    await made(field_sales, name="c", segment="x")
    assert await listed(field_sales, "?lifecycle=lead&sort=name") == ["a", "c"]
    assert await listed(field_sales, "?segment=x&sort=-name") == ["c", "b"]
    assert await listed(field_sales, "?external_id=7") == ["a"]
    first = await field_sales.ok("GET", "/customers?sort=name&limit=2")
    rest = await field_sales.ok("GET", f"/customers?sort=name&limit=2&cursor={first['next_cursor']}")
    assert [item["name"] for item in first["items"] + rest["items"]] == ["a", "b", "c"]
    await field_sales.problem("GET", "/customers?colour=red")


async def test_an_erased_customer_leaves_no_text_and_its_deals_stay(field_sales: Pipeline):
    customer = await made(field_sales, contact={"name": "Li Wei"}, external_id="7")
    deal = await field_sales.deal(customer_id=customer["id"])
    await field_sales.sent()
    path = f"/customers/{customer['id']}"
    await field_sales.problem("DELETE", path, status=428)
    await field_sales.ok("DELETE", path, status=204, headers={"if-match": '"1"'})
    await field_sales.problem("GET", path, status=404)
    await field_sales.problem("DELETE", path, status=404, headers={"if-match": "*"})
    (event,) = await field_sales.announced()
    assert isinstance(event, CustomerErased)
    (row,) = await field_sales.rows("SELECT to_jsonb(customer)::text AS whole FROM customer")
    assert "Harbour" not in row.whole
    assert "Li Wei" not in row.whole
    assert (await field_sales.ok("GET", f"/deals/{deal['id']}"))["customer_id"] == customer["id"]
    await made(field_sales, external_id="7")
