"""Who sees what, over public HTTP: a seller the own, a manager the team's, an administrator everything; the rest is 404."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from tests.embedded_system import System
from tests.flows.company import new_deal
from tests.system_caller import Caller, Json, until

pytestmark = pytest.mark.slow

ROLES = {"ann": "rep", "ben": "rep", "cy": "rep", "mia": "manager", "sam": "manager"}
# Whose rows each of them sees, of the sellers below.
SEES = {"ann": {"ann"}, "ben": {"ben"}, "cy": {"cy"}, "mia": {"ann", "ben"}, "sam": {"cy"}, None: {"ann", "ben", "cy"}}
SELLERS = ("ann", "ben", "cy")


@pytest.fixture
async def callers(system: System) -> AsyncIterator[dict[str | None, Caller]]:
    """By person; the administrator is nobody."""
    made: dict[str | None, Caller] = {
        name: Caller(system.url, system.token(role, name)) for name, role in ROLES.items()
    } | {None: Caller(system.url, system.token("admin"))}
    yield made
    for caller in made.values():
        await caller.http.aclose()


async def status(caller: Caller, path: str, **params: str) -> int:
    return (await caller.http.get(path, params=params)).status_code


async def test_deals_and_what_belongs_to_them(callers: dict[str | None, Caller]) -> None:
    deals = {seller: await new_deal(callers[seller], seller, "5.00") for seller in SELLERS}
    for who, caller in callers.items():
        listed = {deal["id"] for deal in await caller.everything("/pipeline/v1/deals")}
        assert {seller for seller in SELLERS if deals[seller]["id"] in listed} == SEES[who]
        for seller, deal in deals.items():
            path, expected = f"/pipeline/v1/deals/{deal['id']}", 200 if seller in SEES[who] else 404
            for part in ("", "/history", "/moves/options"):
                assert await status(caller, path + part) == expected, (who, seller, part)
            if seller not in SEES[who]:
                moved = await caller.ask("POST", f"{path}/moves", {"to_stage": "talk"})
                changed = await caller.ask("PATCH", path, {"product": "x"}, if_match="*")
                assert (moved.status_code, changed.status_code) == (404, 404)
                assert moved.json()["code"] == "not_found"
    assert await status(callers[None], "/pipeline/v1/deals/00000000-0000-7000-8000-000000000000") == 404


async def test_values(callers: dict[str | None, Caller]) -> None:
    for who, caller in callers.items():
        for seller in SELLERS:
            expected = 200 if seller in SEES[who] else 404
            assert await status(caller, "/kpi/v1/values", kpi="deals_created", scope=f"person:{seller}") == expected
        for team, boss in (("north", "mia"), ("south", "sam")):
            expected = 200 if who in (boss, None) else 404
            assert await status(caller, "/kpi/v1/values", kpi="won_amount", scope=f"team:{team}") == expected
        expected = 200 if who is None else 404
        assert await status(caller, "/kpi/v1/values", kpi="won_amount", scope="org") == expected
    assert (await callers["ann"].value("deals_created"))["scope"] == "person:ann"


async def test_goals_and_quotas(callers: dict[str | None, Caller]) -> None:
    admin = callers[None]
    goals: dict[str, Json] = {}
    for scope in ("org", "team:north", "team:south"):
        body = {"title": scope, "kpi": "won_count", "scope": scope, "target": "30",
                "period": {"grain": "year", "start": "2031-01-01"}}  # fmt: skip
        goals[scope] = await admin.post("/goals/v1/goals", body)
    plan = {"to": "people", "method": "ability_and_experience", "preview": False}
    await admin.post(f"/goals/v1/goals/{goals['org']['id']}/allocations", plan)
    seen = {None: {"org", "team:north", "team:south"}, "mia": {"team:north"}, "sam": {"team:south"}}
    for who, caller in callers.items():
        listed = {goal["id"] for goal in await caller.everything("/goals/v1/goals")}
        for scope, goal in goals.items():
            inside = scope in seen.get(who, set())
            assert (goal["id"] in listed) is inside, (who, scope)
            assert await status(caller, f"/goals/v1/goals/{goal['id']}") == (200 if inside else 404), (who, scope)
        quotas = await caller.everything("/goals/v1/quotas", goal_id=goals["org"]["id"])
        assert {quota["external_id"] for quota in quotas} & set(SELLERS) == SEES[who]
    for goal in goals.values():
        await admin.delete(f"/goals/v1/goals/{goal['id']}")


async def test_alerts(callers: dict[str | None, Caller]) -> None:
    mark = f"scope-{uuid4().hex[:8]}"
    rule = {"name": mark, "when": {"event": "deal_won", "where": {"product": mark}}, "to": "owner"}
    made = await callers[None].post("/notify/v1/rules", rule)
    for seller in SELLERS:
        deal = await new_deal(callers[seller], seller, "1.00", product=mark)
        await callers[seller].move(deal["id"], "won")

    async def fired() -> dict[str, str] | None:
        alerts = await callers[None].everything("/notify/v1/alerts", rule_id=made["id"])
        return {alert["subject"]["owner"]: alert["id"] for alert in alerts} if len(alerts) == len(SELLERS) else None

    by_owner = await until(fired)
    people = {person["id"]: person["external_id"] for person in await callers[None].everything("/goals/v1/people")}
    alerts = {people[owner]: alert for owner, alert in by_owner.items()}
    for who, caller in callers.items():
        listed = {alert["id"] for alert in await caller.everything("/notify/v1/alerts", rule_id=made["id"])}
        assert {seller for seller in SELLERS if alerts[seller] in listed} == SEES[who]
        for seller, alert in alerts.items():
            assert await status(caller, f"/notify/v1/alerts/{alert}") == (200 if seller in SEES[who] else 404)
        expected = 403 if who in SELLERS else 404 if who is not None else 200
        assert await status(caller, f"/notify/v1/rules/{made['id']}") == expected, who
        own = [item for item in await caller.everything("/notify/v1/inbox") if item["alert_id"] in alerts.values()]
        assert [item["alert_id"] for item in own] == ([alerts[who]] if who in SELLERS else [])
    await callers[None].delete(f"/notify/v1/rules/{made['id']}")


async def test_nobody_without_a_token(system: System) -> None:
    async with Caller(system.url, "not.a.token") as stranger:
        for path in ("/pipeline/v1/deals", "/kpi/v1/values?kpi=won_count", "/goals/v1/goals", "/notify/v1/alerts"):
            answer = await stranger.http.get(path)
            assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid"), path
            assert (await stranger.http.get(path, headers={"authorization": ""})).status_code == 401
    for role, expected in (("manager", 404), ("rep", 404)):
        code, token = await system.command("token", "--role", role, "--person", "ann")
        assert code == 0
        async with Caller(system.url, token.strip()) as caller:
            assert await status(caller, "/kpi/v1/values", kpi="won_count", scope="org") == expected
            assert await status(caller, "/kpi/v1/values", kpi="won_count", scope="person:ann") == 200
