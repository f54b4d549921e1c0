"""The main job over public HTTP: a move is refused with its reasons, or it reaches KPI, goal, alert and listeners."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from tests.embedded_system import System
from tests.flows.company import hire, new_deal
from tests.services.notify.receiver import Receiver, receiving
from tests.system_caller import Caller, Events, Json, until

pytestmark = pytest.mark.slow


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


async def test_one_move_reaches_kpi_goal_and_alert(system: System, admin: Caller, receiver: Receiver) -> None:
    seller = await hire(system, admin)
    scope = f"person:{seller}"
    channel = await admin.post("/notify/v1/channels", {"kind": "webhook", "url": receiver.url})
    begin = (await admin.value("won_amount", scope=scope, grain="quarter"))["period"]["start"]
    goal = await admin.post(
        "/goals/v1/goals",
        {"title": "A good quarter", "kpi": "won_amount", "scope": scope, "currency": "CNY",
         "period": {"grain": "quarter", "start": begin}, "target": "1000.00"},
    )  # fmt: skip
    conditions: dict[str, Json] = {
        "value": {"kpi": "won_amount", "scope": scope, "grain": "quarter", "op": "ge", "threshold": "1000.00"},
        "deal": {"event": "deal_won", "where": {"owner": seller}},
        "goal": {"event": "goal_reached", "where": {"goal_id": goal["id"]}},
    }
    for name, when in conditions.items():
        rule = {"name": name, "when": when, "channels": [channel["id"]], "to": {"external_id": seller}}
        await admin.post("/notify/v1/rules", rule)
    first = await new_deal(admin, seller, "400.10")
    await admin.value("won_amount", scope=scope, token=(await admin.move(first["id"], "won"))["consistency_token"])
    await until(lambda: told(admin, goal["id"], "400.10"))
    quiet = await admin.everything("/notify/v1/alerts", state="firing")
    assert [alert["rule"]["name"] for alert in quiet if alert["subject"]["stream"] == f"deal:{first['id']}"] == ["deal"]

    deal = await new_deal(admin, seller, "599.90")
    correlation = f"flow-{uuid4()}"
    moves = f"/pipeline/v1/deals/{deal['id']}/moves"
    moved = await admin.post(moves, {"to_stage": "won"}, x_request_id=correlation)
    value = await admin.value("won_amount", scope=scope, grain="quarter", token=moved["consistency_token"])
    assert (value["value"], value["currency"], value["sample_size"]) == ("1000.00", "CNY", 2)
    reached = await until(lambda: told(admin, goal["id"], "1000.00"))
    assert (reached["attainment"], reached["state"]) == ("1.000000", "reached")

    requests = await delivered(receiver, channel["secret"], correlation, 3)
    assert requests.keys() == conditions.keys()
    alerts = await admin.everything("/notify/v1/alerts", correlation_id=correlation)
    assert {alert["rule"]["name"]: alert["id"] for alert in alerts} == {
        name: data["alert_id"] for name, data in requests.items()
    }
    async with system.caller("rep", seller) as rep:

        async def inbox() -> list[Json] | None:
            found = [item for item in await rep.everything("/notify/v1/inbox") if item["alert_id"] in ids]
            return found if len(found) == len(ids) else None

        ids = {alert["id"] for alert in alerts}
        items = await until(inbox)
        assert {item["alert_id"] for item in items} == ids
        assert all(item["title"]["zh"] != item["title"]["en"] for item in items)
    chain = await system.rows(
        "bus", "SELECT DISTINCT topic FROM bus_log WHERE headers::jsonb->>'ce_correlationid' = $1", correlation
    )
    assert {topic for (topic,) in chain} == {
        "pipeline.deals.v1", "kpi.values.v1", "goals.goals.v1", "notify.alerts.v1"
    }  # fmt: skip


async def told(caller: Caller, goal_id: str, result: str) -> Json | None:
    """The goal, once it has this result."""
    goal: Json = await caller.get(f"/goals/v1/goals/{goal_id}")
    return goal if goal["result"] == result else None


async def delivered(receiver: Receiver, secret: str, correlation: str, count: int) -> dict[str, Json]:
    """The data of the alerts of one correlation by the name of their rule; every signature is checked."""

    async def arrived() -> dict[str, Json] | None:
        documents: list[Any] = [request.verified(secret) for request in receiver.requests]
        mine = [document["data"] for document in documents if document["data"]["correlation_id"] == correlation]
        return {data["rule"]["name"]: data for data in mine} if len(mine) >= count else None

    return await until(arrived)


@pytest.mark.parametrize(("language", "chinese"), [("zh", True), ("en", False)])
async def test_a_refusal_tells_every_reason_in_the_asked_language(
    system: System, admin: Caller, language: str, chinese: bool
) -> None:
    seller = await hire(system, admin)
    standard = await admin.get("/pipeline/v1/processes/standard")
    first, second = standard["stages"][:2]
    deal = await admin.post(
        "/pipeline/v1/deals", {"name": "Gated", "process": "standard", "owner": {"external_id": seller}}
    )
    async with system.caller("rep", seller, language) as rep:
        answer = await rep.ask("POST", f"/pipeline/v1/deals/{deal['id']}/moves", {"to_stage": second["code"]})
        (option,) = [
            option
            for option in (await rep.get(f"/pipeline/v1/deals/{deal['id']}/moves/options"))["items"]
            if option["to_stage"] == second["code"]
        ]
        tasks = await rep.everything("/pipeline/v1/tasks", deal_id=deal["id"])
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (409, "gate_unmet")
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.headers["content-language"] == language
    assert problem["unmet"] == option["unmet"]
    assert option["allowed"] is False
    wanted = [f"/tasks/{task['code']}" for task in first["tasks"] if task["mandatory"]] + ["/customer_id"]
    assert sorted(item["pointer"] for item in problem["unmet"]) == sorted(wanted)
    for item in [*problem["unmet"], {"message": problem["detail"]}]:
        assert any("\u4e00" <= letter <= "\u9fff" for letter in item["message"]) is chinese, item
    assert {task["code"] for task in tasks} == {task["code"] for task in first["tasks"]}
    history = await admin.everything(f"/pipeline/v1/deals/{deal['id']}/history")
    assert [version["type"] for version in history] == ["created"]
    unreasoned = await admin.ask("POST", f"/pipeline/v1/deals/{deal['id']}/moves", {"to_stage": "lost"})
    assert (unreasoned.status_code, unreasoned.json()["errors"][0]["pointer"]) == (422, "/lost_reason")


async def test_the_stream_tells_changed_values_and_goes_on_where_it_broke(system: System, admin: Caller) -> None:
    seller = await hire(system, admin)
    asked = {"kpi": "won_count", "scope": f"person:{seller}", "grain": "month"}
    heard: list[tuple[str, str]] = []
    async with system.caller("rep", seller) as rep:

        async def win() -> None:
            deal = await new_deal(rep, seller, "1.00")
            await rep.value("won_count", token=(await rep.move(deal["id"], "won"))["consistency_token"])

        async def listen(events: Events, until_value: str) -> None:
            while not heard or heard[-1][1] != until_value:
                event = await events.next()
                assert (event["event"], event["data"]["kpi"]) == ("value", "won_count")
                heard.append((event["id"], event["data"]["value"]))

        async with rep.stream("/kpi/v1/stream", **asked) as events:
            await events.opened()
            for _ in range(3):
                await win()
            await listen(events, "3")
        broken_off = len(heard)
        for _ in range(3):
            await win()
        last = heard[-1][0]
        async with rep.stream("/kpi/v1/stream", after=last, **asked) as events:
            await listen(events, "6")
            await win()
            await listen(events, "7")
        # From the first event on once more: the very same events.
        again, heard[:] = list(heard), heard[:1]
        async with rep.stream("/kpi/v1/stream", after=heard[0][0], **asked) as events:
            await listen(events, "7")
    assert heard == again
    numbers = [int(number) for number, _ in heard]
    assert numbers == sorted(set(numbers))
    values = [int(value) for _, value in heard]
    assert values == sorted(set(values))
    assert values[0] >= 0
    assert 0 < broken_off < len(heard)
