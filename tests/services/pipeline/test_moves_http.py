"""Moves over HTTP: the main road, refusals, overrides, conditions, retries and scopes."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from shared.clock import rfc3339
from shared.db.faultpoints import armed
from shared.events.pipeline import DealMoved
from tests.services.pipeline.building import NOW
from tests.services.pipeline.serving import Pipeline, person_id


async def ready(pipeline: Pipeline, **changes: Any) -> Any:
    """A deal whose first gate is met."""
    deal = await pipeline.deal(fields={"budget": "yes"}, amount={"amount": "500.00", "currency": "CNY"}, **changes)
    await pipeline.do_tasks(deal)
    return await pipeline.ok("GET", f"/deals/{deal['id']}")


async def test_a_move_is_answered_announced_and_recorded(field_sales: Pipeline):
    deal = await ready(field_sales)
    await field_sales.sent()
    answer = await field_sales.move(deal, "offer", reason="they agreed", headers={"x-request-id": "req-7"})
    assert answer.status == 201
    body = json.loads(answer.body)
    assert answer.headers["etag"] == f'"{deal["version"] + 1}"'
    assert body["consistency_token"] == f"deal:{deal['id']}@{deal['version'] + 1}"
    move = body["move"]
    assert (move["from_stage"], move["to_stage"], move["reason"]) == ("visit", "offer", "they agreed")
    assert (move["by"], move["broke"], move["overridden"]) == ("admin", [], False)
    assert body["deal"] == await field_sales.ok("GET", f"/deals/{deal['id']}")
    assert body["deal"]["stage"] == {
        "code": "offer",
        "name": {"zh": "offer（中）", "en": "offer"},
        "kind": "open",
        "order": 1,
    }
    (message,) = await field_sales.sent()
    assert message.headers["ce_correlationid"] == "req-7"
    assert "they agreed" not in message.value.decode()
    (row,) = await field_sales.rows(
        "SELECT headers, value, reason FROM deal_history WHERE deal_id = :id AND version = :version",
        id=deal["id"],
        version=deal["version"] + 1,
    )
    assert (row.headers, row.value, row.reason) == (message.headers, message.value, "they agreed")


async def test_a_refusal_tells_every_unmet_criterion_in_the_callers_language_and_changes_nothing(field_sales: Pipeline):
    deal = await field_sales.deal()
    await field_sales.sent()
    zh = json.loads((await field_sales.move(deal, "signing", headers={"accept-language": "zh-CN"})).body)
    answer = await field_sales.move(deal, "signing", headers={"accept-language": "en"})
    en = json.loads(answer.body)
    assert (answer.status, en["code"]) == (409, "gate_unmet")
    assert [(unmet["criterion"], unmet["message"], unmet["pointer"]) for unmet in en["unmet"]] == [
        ("tasks_done:call", "The mandatory task “Call” is not done", "/tasks/call"),
        ("field_present:fields.budget", "fields.budget is needed", "/fields/budget"),
        ("known", "customer_id is needed", "/customer_id"),
    ]
    assert zh["unmet"][0]["message"] == "必做任务“Call（中）”尚未完成"
    assert await field_sales.sent() == []
    assert await field_sales.ok("GET", f"/deals/{deal['id']}") == deal


async def test_options_tell_the_same_as_the_moves(field_sales: Pipeline):
    deal = await field_sales.deal()
    found = await field_sales.ok("GET", f"/deals/{deal['id']}/moves/options")
    options = {option["to_stage"]: option for option in found["items"]}
    assert list(options) == ["visit", "offer", "signing", "closed", "dropped"]
    assert [code for code, option in options.items() if option["allowed"]] == ["dropped"]
    assert options["dropped"]["requires"] == ["lost_reason"]
    assert options["visit"]["unmet"][0]["criterion"] == "already_in_stage"
    for code in ("offer", "signing", "closed"):
        refused = json.loads((await field_sales.move(deal, code)).body)
        assert options[code]["unmet"] == refused["unmet"]
    await field_sales.problem("GET", f"/deals/{person_id('x')}/moves/options", status=404)


async def test_moves_the_process_does_not_know_and_the_present_stage(field_sales: Pipeline):
    deal = await ready(field_sales)
    moved = json.loads((await field_sales.move(deal, "offer")).body)["deal"]
    back = json.loads((await field_sales.move(moved, "visit")).body)
    assert (back["status"], back["code"]) == (409, "move_not_allowed")
    assert [unmet["criterion"] for unmet in back["unmet"]] == ["move_not_allowed"]
    same = json.loads((await field_sales.move(moved, "offer")).body)
    assert (same["status"], same["code"]) == (409, "already_in_stage")


async def test_lost_needs_a_reason_and_reopening_is_a_move(field_sales: Pipeline):
    deal = await field_sales.deal()
    problem = json.loads((await field_sales.move(deal, "dropped")).body)
    assert (problem["status"], problem["errors"][0]["pointer"]) == (422, "/lost_reason")
    problem = json.loads((await field_sales.move(deal, "dropped", lost_reason="   ")).body)
    assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [("/lost_reason", "blank")]
    lost = json.loads((await field_sales.move(deal, "dropped", lost_reason="price")).body)["deal"]
    assert (lost["status"], lost["lost_reason"], lost["sla_due_at"]) == ("lost", "price", None)
    assert lost["closed_at"] is not None
    reopened = json.loads((await field_sales.move(lost, "visit")).body)["deal"]
    assert (reopened["status"], reopened["lost_reason"], reopened["closed_at"]) == ("open", None, None)


async def test_entering_a_stage_again_is_a_new_round_of_tasks(field_sales: Pipeline):
    deal = await field_sales.deal()
    lost = json.loads((await field_sales.move(deal, "dropped", lost_reason="price")).body)["deal"]
    await field_sales.move(lost, "visit")
    tasks = (await field_sales.ok("GET", f"/tasks?deal_id={deal['id']}"))["items"]
    assert sorted((task["code"], task["visit"], task["status"]) for task in tasks) == [
        ("call", 1, "cancelled"),
        ("call", 3, "open"),
        ("map", 1, "cancelled"),
        ("map", 3, "open"),
    ]


async def test_a_manager_may_override_and_a_rep_may_not(field_sales: Pipeline):
    deal = await field_sales.deal()
    override = {"reason": "the board said so"}
    refused = await field_sales.move(deal, "offer", override=override, role="rep", person="ann")
    assert refused.status == 403
    answer = await field_sales.move(deal, "offer", override=override, role="manager", person="rita")
    move = json.loads(answer.body)["move"]
    assert (move["overridden"], move["reason"], move["by"]) == (True, "the board said so", "rita")
    assert move["broke"] == ["tasks_done:call", "field_present:fields.budget"]


async def test_if_match_is_optional_and_must_hold(field_sales: Pipeline):
    deal = await ready(field_sales)
    stale = await field_sales.move(deal, "offer", headers={"if-match": '"1"'})
    assert (stale.status, stale.headers["etag"]) == (412, f'"{deal["version"]}"')
    assert (await field_sales.move(deal, "offer", headers={"if-match": f'"{deal["version"]}"'})).status == 201


async def test_the_past_may_be_told_and_the_future_not(field_sales: Pipeline):
    deal = await ready(field_sales)
    future = await field_sales.move(deal, "offer", occurred_at=rfc3339(NOW + timedelta(minutes=6)))
    assert json.loads(future.body)["errors"][0]["pointer"] == "/occurred_at"
    past = rfc3339(NOW - timedelta(days=3))
    moved = json.loads((await field_sales.move(deal, "offer", occurred_at=past)).body)
    assert moved["move"]["occurred_at"] == moved["deal"]["stage_entered_at"] == past
    assert moved["move"]["recorded_at"] > past


@pytest.mark.parametrize("beyond", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
async def test_a_time_that_is_beyond_the_calendar_in_utc_is_a_bad_field(field_sales: Pipeline, beyond: str):
    deal = await ready(field_sales)
    answer = await field_sales.move(deal, "offer", occurred_at=beyond)
    problem = json.loads(answer.body)
    assert answer.status == 422
    assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [("/occurred_at", "invalid_format")]


async def test_a_retry_with_its_key_is_answered_by_the_first_move(field_sales: Pipeline):
    deal = await ready(field_sales)
    await field_sales.sent()
    key = {"idempotency-key": "move-1"}
    first = await field_sales.move(deal, "offer", headers=key)
    again = await field_sales.move(deal, "offer", headers=key)
    assert (first.status, again.status, again.body) == (201, 201, first.body)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["etag"] == first.headers["etag"]
    other = await field_sales.move(deal, "signing", headers=key)
    assert (other.status, json.loads(other.body)["code"]) == (422, "idempotency_key_reused")
    assert len(await field_sales.sent()) == 1


async def test_a_refused_move_may_be_tried_again_with_its_key(field_sales: Pipeline):
    deal = await field_sales.deal(fields={"budget": 1})
    key = {"idempotency-key": "move-2"}
    assert (await field_sales.move(deal, "offer", headers=key)).status == 409
    await field_sales.do_tasks(deal)
    assert (await field_sales.move(deal, "offer", headers=key)).status == 201


async def test_what_is_out_of_scope_is_not_there(field_sales: Pipeline):
    deal = await ready(field_sales)
    for role, person, status in [
        ("rep", "cid", 404),
        ("rep", "ben", 404),
        ("manager", "cid", 404),
        ("rep", "ann", 201),
    ]:
        answer = await field_sales.move(deal, "offer", role=role, person=person)
        assert answer.status == status, (person, answer.body)
    other = await field_sales.call("POST", "/deals/not-an-id/moves", {"to_stage": "offer"})
    assert other.status == 404
    missing = await field_sales.call("POST", f"/deals/{person_id('x')}/moves", {"to_stage": "offer"})
    assert missing.status == 404


async def test_two_moves_of_one_deal_at_once_are_one_after_the_other(field_sales: Pipeline):
    deal = await ready(field_sales)
    answers = await asyncio.gather(*(field_sales.move(deal, "offer") for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [201, 409, 409, 409, 409]
    versions = await field_sales.rows("SELECT version FROM deal_history WHERE deal_id = :id ORDER BY 1", id=deal["id"])
    assert [row.version for row in versions] == list(range(1, deal["version"] + 2))


async def test_many_deals_at_once_each_move_once_in_order(field_sales: Pipeline):
    deals = [await ready(field_sales) for _ in range(64)]
    await field_sales.sent()
    answers = await asyncio.gather(*(field_sales.move(deal, "offer") for deal in deals))
    assert {answer.status for answer in answers} == {201}
    events = await field_sales.announced()
    assert len(events) == 64
    assert {str(event.deal_id) for event in events} == {deal["id"] for deal in deals}
    assert all(isinstance(event, DealMoved) and event.version == deals[0]["version"] + 1 for event in events)


@pytest.mark.parametrize("target", ["signing", "closed"])
async def test_a_deal_goes_all_the_way(field_sales: Pipeline, target: str):
    customer = await field_sales.ok("POST", "/customers", {"name": "Harbour Works"}, 201)
    deal = await ready(field_sales, customer_id=customer["id"])
    for stage in ("offer", target):
        await field_sales.do_tasks(deal)
        answer = await field_sales.move(deal, stage)
        assert answer.status == 201, answer.body
    moved = json.loads(answer.body)["deal"]
    assert moved["status"] == ("won" if target == "closed" else "open")
    history = (await field_sales.ok("GET", f"/deals/{deal['id']}/history"))["items"]
    assert [item["type"] for item in history] == [
        "created", "task_changed", "task_changed", "moved", "task_changed", "moved",
    ]  # fmt: skip
    assert [(item["from"], item["to"]) for item in history if item["type"] == "moved"] == [
        ("visit", "offer"),
        ("offer", target),
    ]


async def test_retries_in_flight_at_once_move_once_and_agree(field_sales: Pipeline):
    deal = await ready(field_sales)
    await field_sales.sent()
    headers = {"idempotency-key": "move-3"}
    answers = await asyncio.gather(*(field_sales.move(deal, "offer", headers=headers) for _ in range(6)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.body for answer in answers}) == 1
    assert len(await field_sales.sent()) == 1


async def test_a_bad_command_does_not_fail_its_neighbours(field_sales: Pipeline):
    deals = [await ready(field_sales) for _ in range(4)]
    unready = await field_sales.deal()
    answers = await asyncio.gather(
        *(field_sales.move(deal, "offer") for deal in deals),
        field_sales.move(unready, "offer"),
        field_sales.move({"id": person_id("nobody")}, "offer"),
        field_sales.move(deals[0], "offer", headers={"if-match": '"77"'}),
    )
    assert [answer.status for answer in answers] == [201, 201, 201, 201, 409, 404, 412]


def lose_the_connection() -> None:
    raise ConnectionResetError


async def test_what_breaks_before_the_commit_leaves_nothing(field_sales: Pipeline):
    deal = await ready(field_sales)
    await field_sales.sent()
    with armed("moves.written", 1, lose_the_connection):
        broken = await field_sales.move(deal, "offer", headers={"idempotency-key": "move-4"})
    assert (broken.status, "retry-after" in broken.headers) == (503, True)
    assert await field_sales.sent() == []
    assert await field_sales.ok("GET", f"/deals/{deal['id']}") == deal
    assert (await field_sales.move(deal, "offer", headers={"idempotency-key": "move-4"})).status == 201


async def test_what_breaks_after_the_commit_is_answered_to_the_retry(field_sales: Pipeline):
    deal = await ready(field_sales)
    await field_sales.sent()
    with armed("moves.committed", 1, lose_the_connection):
        broken = await field_sales.move(deal, "offer", headers={"idempotency-key": "move-5"})
    assert broken.status == 503
    retried = await field_sales.move(deal, "offer", headers={"idempotency-key": "move-5"})
    assert (retried.status, retried.headers["idempotency-replayed"]) == (201, "true")
    assert len(await field_sales.sent()) == 1
