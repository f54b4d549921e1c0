"""Tasks over HTTP: made on entry, listed, done, reopened, added by hand."""

import json
from datetime import timedelta
from urllib.parse import quote

from shared.clock import rfc3339
from shared.events.pipeline import DealTaskAdded, DealTaskChanged
from tests.services.pipeline.building import NOW
from tests.services.pipeline.serving import Pipeline, person_id


async def test_entering_a_stage_makes_its_tasks_with_due_dates(field_sales: Pipeline):
    deal = await field_sales.deal()
    call, plan = (await field_sales.ok("GET", f"/tasks?deal_id={deal['id']}"))["items"]
    assert (call["code"], call["mandatory"], call["status"], call["stage"], call["visit"]) == (
        "call",
        True,
        "open",
        "visit",
        1,
    )
    assert call["name"] == {"zh": "Call（中）", "en": "Call"}
    assert call["owner"]["external_id"] == "ann"
    entered = deal["stage_entered_at"]
    assert [task["due_at"] for task in (call, plan)] == [
        entered.replace("T01", "T05"),
        entered.replace("11-23", "11-24"),
    ]


async def test_done_twice_is_done_once_and_reopened_is_open(field_sales: Pipeline):
    deal = await field_sales.deal()
    task = (await field_sales.ok("GET", f"/tasks?deal_id={deal['id']}"))["items"][0]
    await field_sales.sent()
    path, done = f"/tasks/{task['id']}", {"status": "done", "result": {"outcome": "success", "note": "fine"}}
    first = await field_sales.ok("PATCH", path, done, headers={"if-match": '"1"'})
    assert (first["status"], first["version"], first["result"]["note"]) == ("done", 2, "fine")
    assert first["done_at"] is not None
    assert await field_sales.change(path, done) == first
    (event,) = await field_sales.announced()
    assert isinstance(event, DealTaskChanged)
    assert (event.version, event.task_code, event.status, event.outcome) == (2, "call", "done", "success")
    assert (await field_sales.ok("GET", f"/deals/{deal['id']}"))["version"] == 2
    reopened = await field_sales.change(path, {"status": "open"})
    assert (reopened["status"], reopened["done_at"], reopened["version"]) == ("open", None, 3)
    read = await field_sales.call("GET", path)
    assert (json.loads(read.body), read.headers["etag"]) == (reopened, '"3"')


async def test_changes_need_a_version_and_good_fields(field_sales: Pipeline):
    deal = await field_sales.deal()
    tasks = (await field_sales.ok("GET", f"/tasks?deal_id={deal['id']}"))["items"]
    path = f"/tasks/{tasks[0]['id']}"
    await field_sales.problem("PATCH", path, {"status": "done"}, 428)
    await field_sales.problem("PATCH", path, {"status": "done"}, 412, headers={"if-match": '"7"'})
    problem = await field_sales.problem(
        "PATCH", path, {"status": "half", "due_at": "2026-01-01", "code": "x"}, headers={"if-match": "*"}
    )
    assert {error["pointer"] for error in problem["errors"]} == {"/status", "/due_at", "/code"}


async def test_tasks_are_added_by_hand_and_may_hold_a_deal_back(field_sales: Pipeline):
    deal = await field_sales.deal(fields={"budget": 1})
    await field_sales.do_tasks(deal)
    await field_sales.sent()
    due = rfc3339(NOW + timedelta(days=3))
    body = {
        "deal_id": deal["id"],
        "title": "Send references",
        "due_at": due,
        "mandatory": True,
        "owner": {"external_id": "ben"},
    }
    answer = await field_sales.call("POST", "/tasks", body)
    task = json.loads(answer.body)
    assert (answer.status, answer.headers["location"]) == (201, f"/pipeline/v1/tasks/{task['id']}")
    assert (task["title"], task["name"]["zh"], task["code"]) == ("Send references", "Send references", None)
    assert task["owner"]["external_id"] == "ben"
    (event,) = await field_sales.announced()
    assert isinstance(event, DealTaskAdded)
    assert (event.version, str(event.task_id)) == (4, task["id"])
    refused = json.loads((await field_sales.move(deal, "offer", headers={"accept-language": "en"})).body)
    assert [unmet["message"] for unmet in refused["unmet"]] == ["The mandatory task “Send references” is not done"]
    await field_sales.change(f"/tasks/{task['id']}", {"status": "cancelled"}, role="rep", person="ben")
    await field_sales.change(f"/tasks/{task['id']}", {"status": "done"})
    assert (await field_sales.move(deal, "offer")).status == 201


async def test_lists_are_filtered_and_paged(field_sales: Pipeline):
    ann, ben = await field_sales.deal(), await field_sales.deal(owner={"external_id": "ben"})
    await field_sales.ok("POST", "/tasks", {"deal_id": ann["id"], "title": "Ask", "owner": {"external_id": "ben"}}, 201)
    await field_sales.do_tasks(ben)

    async def codes(query: str, **options: str) -> list[str]:
        return [
            task["code"] or task["title"]
            for task in (await field_sales.ok("GET", f"/tasks?{query}", **options))["items"]
        ]

    assert await codes(f"deal_id={ann['id']}") == ["call", "map", "Ask"]
    assert await codes("status=done") == ["call", "map"]
    assert await codes(f"owner_id={person_id('ben')}&status=open") == ["Ask"]
    assert await codes("owner_id=ann") == ["call", "map"]
    before = quote(rfc3339(NOW + timedelta(hours=5)))
    assert await codes(f"due_before={before}&status=open") == ["call"]
    assert await codes("status=open", role="rep", person="ben") == ["Ask"]
    assert await codes("", role="rep", person="cid") == []
    first = await field_sales.ok("GET", "/tasks?limit=3")
    rest = await field_sales.ok("GET", f"/tasks?limit=3&cursor={quote(first['next_cursor'])}")
    assert first["items"] + rest["items"] == (await field_sales.ok("GET", "/tasks"))["items"]
    assert len(rest["items"]) == 2
    await field_sales.problem("GET", "/tasks?status=late")


async def test_what_is_out_of_scope_is_not_there(field_sales: Pipeline):
    deal = await field_sales.deal()
    task = (await field_sales.ok("GET", f"/tasks?deal_id={deal['id']}"))["items"][0]
    path = f"/tasks/{task['id']}"
    await field_sales.problem("GET", path, status=404, role="rep", person="cid")
    change = {"status": "done"}
    await field_sales.problem("PATCH", path, change, 404, role="rep", person="cid", headers={"if-match": "*"})
    body = {"deal_id": deal["id"], "title": "x"}
    await field_sales.problem("POST", "/tasks", body, 404, role="rep", person="cid")
    await field_sales.problem("GET", f"/tasks/{person_id('x')}", status=404)
