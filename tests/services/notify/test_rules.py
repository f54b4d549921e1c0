"""Rules over HTTP: everything wrong at once, versions, scopes, and what is announced."""

from typing import Any
from uuid import uuid4

import pytest

from tests.services.notify.building import person, team
from tests.services.notify.conftest import Notify

KPI = {"kpi": "win_rate", "scope": "org", "grain": "month", "op": "lt", "threshold": "0.20"}


async def test_a_rule_comes_back_as_it_was_written(notify: Notify) -> None:
    channel = await notify.make_channel("http://127.0.0.1:1/x")
    body = {
        "name": {"zh": "赢单率", "en": "Win rate"},
        "when": {**KPI, "for": "PT30M", "min_sample_size": 10, "currency": "CNY", "hysteresis": "0.01"},
        "severity": "critical",
        "channels": [channel["id"]],
        "to": {"external_id": "zhang"},
    }
    client = notify.client()
    made = await client.post("/notify/v1/rules", json=body)
    assert made.status_code == 201, made.text
    rule = made.json()
    assert {name: rule[name] for name in body} == body
    assert made.headers["location"] == f"/notify/v1/rules/{rule['id']}"
    read = await client.get(made.headers["location"])
    assert (read.json(), read.headers["etag"]) == (rule, made.headers["etag"])
    listed = await client.get("/notify/v1/rules")
    assert listed.json() == {"items": [rule], "next_cursor": None}


async def test_an_event_rule_keeps_its_filters(notify: Notify) -> None:
    when = {"event": "deal_won", "where": {"process": "b2b", "stage": ["won", "closed"], "amount_at_least": "100.00"}}
    rule = await notify.make_rule(when=when, name="Large ones")
    assert rule["when"] == when
    assert rule["to"] is None
    money = {"event": "deal_won", "where": {"amount_at_least": {"amount": "5.00", "currency": "USD"}}}
    told = await notify.make_rule(when=money)
    assert told["when"]["where"] == {"amount_at_least": "5.00", "currency": "USD"}


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, {"/name": "required", "/when": "required"}),
        (
            {
                "name": "",
                "when": {"kpi": "Win rate", "grain": "decade", "op": "eq", "threshold": "low", "for": "soon", "x": 1},
                "severity": "loud",
                "channels": ["a"],
                "to": "boss",
            },
            {
                "/name": "too_short",
                "/when/kpi": "invalid_format",
                "/when/scope": "required",
                "/when/grain": "not_allowed",
                "/when/op": "not_allowed",
                "/when/threshold": "invalid_format",
                "/when/for": "invalid_duration",
                "/when/x": "unknown_field",
                "/severity": "not_allowed",
                "/channels/0": "invalid_format",
                "/to": "not_allowed",
            },
        ),
        (
            {"name": "x", "when": {"event": "deal_eaten", "where": {"stage": [], "colour": "red"}}},
            {"/when/event": "unknown_event", "/when/where/stage": "too_short", "/when/where/colour": "unknown_field"},
        ),
        (
            {"name": "x", "when": {"event": "goal_at_risk", "where": {"subject": "team", "process": "b2b"}}},
            {"/when/where/subject": "not_allowed", "/when/where/process": "unknown_field"},
        ),
        ({"name": "x", "when": {**KPI, "threshold": 0.2}}, {"/when/threshold": "wrong_type"}),
        ({"name": "x", "when": {**KPI, "currency": "XXX"}}, {"/when/currency": "not_a_currency"}),
        ({"name": "x", "when": {**KPI, "hysteresis": "-1"}}, {"/when/hysteresis": "too_small"}),
        ({"name": "x", "when": {**KPI, "for": "-PT5M"}}, {"/when/for": "invalid_duration"}),
        ({"name": "x", "when": "often"}, {"/when": "wrong_type"}),
        ({"name": "x", "when": KPI, "to": {}}, {"/to": "exactly_one"}),
        (
            {"name": "x", "when": KPI, "to": {"person_id": str(uuid4()), "external_id": "a"}},
            {"/to": "exactly_one"},
        ),
    ],
)
async def test_everything_that_is_wrong_is_told_at_once(
    notify: Notify, body: dict[str, Any], pointers: dict[str, str]
) -> None:
    answer = await notify.client().post("/notify/v1/rules", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == "validation_failed"
    told = {(error["pointer"], error["code"]) for error in answer.json()["errors"]}
    assert pointers.items() <= told
    assert {pointer for pointer, _ in told} == pointers.keys()


async def test_what_does_not_exist_is_told_together(notify: Notify) -> None:
    body = {"name": "x", "when": {**KPI, "scope": "team:nowhere"}, "channels": [str(uuid4()), str(uuid4())]}
    answer = await notify.client().post("/notify/v1/rules", json=body, headers={"accept-language": "zh"})
    assert answer.status_code == 422
    told = {error["pointer"]: error["code"] for error in answer.json()["errors"]}
    assert told == {"/channels/0": "unknown_channel", "/channels/1": "unknown_channel", "/when/scope": "unknown_scope"}
    assert "没有这个渠道" in answer.text


async def test_scopes_are_kept_and_announced_in_canonical_form(notify: Notify) -> None:
    east, zhang = uuid4(), uuid4()
    await notify.hear(team(east, "east"), person(zhang, "zhang", east))
    first = await notify.make_rule(when={**KPI, "scope": "team:east", "currency": "CNY"})
    second = await notify.make_rule(when={**KPI, "scope": "person:zhang"})
    assert first["when"]["scope"] == f"team:{east}"
    assert second["when"]["scope"] == f"person:{zhang}"
    one, two = await notify.announced("notify.rule.changed.v1")
    assert [watch.key for watch in one.watches] == [f"win_rate|team:{east}|month|..|CNY|"]
    assert [watch.key for watch in two.watches] == [f"win_rate|person:{zhang}|month|..||"]
    assert one.stream == f"rule:{first['id']}"


async def test_changing_needs_the_version_and_raises_it(notify: Notify) -> None:
    client = notify.client()
    rule = await notify.make_rule(when=KPI, to="owner")
    path = f"/notify/v1/rules/{rule['id']}"
    assert (await client.patch(path, json={"severity": "info"})).status_code == 428
    assert (await client.patch(path, json={"severity": "info"}, headers={"if-match": '"1"'})).status_code == 412
    changed = await client.patch(path, json={"severity": "info"}, headers={"if-match": f'"{rule["version"]}"'})
    assert changed.status_code == 200
    assert changed.json()["severity"] == "info"
    assert changed.json()["to"] == "owner"
    assert changed.json()["version"] > rule["version"]
    cleared = await client.patch(path, json={"to": None}, headers={"if-match": "*"})
    assert cleared.json()["to"] is None
    assert (await client.patch(path, json={"channels": [str(uuid4())]}, headers={"if-match": "*"})).status_code == 422
    assert (await client.delete(path)).status_code == 428
    assert (await client.delete(path, headers={"if-match": cleared.headers["etag"]})).status_code == 204
    assert (await client.get(path)).status_code == 404
    versions = [event.version for event in await notify.announced("notify.rule.changed.v1")]
    assert versions == sorted(set(versions))
    tombstone = (await notify.announced("notify.rule.changed.v1"))[-1]
    assert (tombstone.deleted, tombstone.watches) == (True, ())


async def test_a_repeated_post_makes_one_rule(notify: Notify) -> None:
    client = notify.client()
    body = {"name": "Once", "when": KPI}
    first = await client.post("/notify/v1/rules", json=body, headers={"idempotency-key": "k"})
    again = await client.post("/notify/v1/rules", json=body, headers={"idempotency-key": "k"})
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert len((await client.get("/notify/v1/rules")).json()["items"]) == 1


async def test_pages_go_through_all_rules(notify: Notify) -> None:
    made = [await notify.make_rule(name=f"Rule {number}") for number in range(5)]
    client = notify.client()
    seen: list[str] = []
    path = "/notify/v1/rules?limit=2"
    while path:
        answer = await client.get(path)
        seen += [rule["id"] for rule in answer.json()["items"]]
        path = answer.links["next"]["url"] if answer.json()["next_cursor"] else ""
    assert seen == [rule["id"] for rule in reversed(made)]


async def test_who_may_write_and_see_rules(notify: Notify) -> None:
    east, west = uuid4(), uuid4()
    lead, other, zhang = uuid4(), uuid4(), uuid4()
    await notify.hear(
        team(east, "east", lead), team(west, "west", other),
        person(lead, "lead", role="manager"), person(other, "other", role="manager"), person(zhang, "zhang", east),
    )  # fmt: skip
    manager, stranger, rep = (
        notify.client("manager", "lead"),
        notify.client("manager", "other"),
        notify.client("rep", "zhang"),
    )
    assert (await rep.get("/notify/v1/rules")).status_code == 403
    assert (await rep.post("/notify/v1/rules", json={"name": "x", "when": KPI})).status_code == 403
    assert (await notify.client("rep", "zhang").get("/notify/v1/channels")).status_code == 403
    outside = await manager.post("/notify/v1/rules", json={"name": "x", "when": {**KPI, "scope": "team:west"}})
    assert [error["pointer"] for error in outside.json()["errors"]] == ["/when/scope"]
    assert (await manager.post("/notify/v1/rules", json={"name": "x", "when": KPI})).status_code == 422
    mine = await notify.make_rule(manager, when={**KPI, "scope": "team:east"})
    about_east = await notify.make_rule(when={"event": "deal_won", "where": {"scope": "person:zhang"}})
    everywhere = await notify.make_rule()
    listed = {rule["id"] for rule in (await manager.get("/notify/v1/rules")).json()["items"]}
    assert listed == {mine["id"], about_east["id"]}
    assert (await stranger.get("/notify/v1/rules")).json()["items"] == []
    assert (await stranger.get(f"/notify/v1/rules/{mine['id']}")).status_code == 404
    any_version = {"if-match": "*"}
    assert (await stranger.delete(f"/notify/v1/rules/{mine['id']}", headers=any_version)).status_code == 404
    hidden = f"/notify/v1/rules/{everywhere['id']}"
    assert (await manager.patch(hidden, json={"name": "y"}, headers=any_version)).status_code == 404
    assert (await manager.delete(f"/notify/v1/rules/{mine['id']}", headers=any_version)).status_code == 204


async def test_a_person_whom_nobody_knows_yet_is_a_scope(notify: Notify) -> None:
    rule = await notify.make_rule(when={**KPI, "scope": "person:newcomer"})
    assert rule["when"]["scope"] == "person:newcomer"
