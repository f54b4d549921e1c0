"""Allocation over HTTP: previews write nothing, plans are exact and explained, quotas are watched and scoped."""

import json
from decimal import Decimal
from fractions import Fraction

import pytest

from shared.events.goals import GoalChanged
from tests.services.goals.harness import Goals, Organisation

GOAL = {
    "title": "Q2",
    "kpi": "won_amount",
    "scope": "org",
    "period": {"grain": "quarter", "start": "2026-04-01"},
    "target": "1000.01",
    "currency": "CNY",
}
WIDE = {"bounds": {"min": "0", "max": "9"}}


async def allocated(goals: Goals, body: object = None, goal: object = None, **options: object):
    made = await goals.ok("POST", "/goals", goal or GOAL)
    return made, await goals.ok("POST", f"/goals/{made['id']}/allocations", body or {}, **options)


def check(plan: dict) -> None:
    """Confirm a plan from its own explanation: exact sum, factors multiply, bounds kept, one level explains all."""
    items = plan["items"]
    assert sum(Decimal(item["quota"]) for item in items) == Decimal(plan["sum"]) == Decimal(plan["target_value"])
    unit = Decimal(1).scaleb(Decimal(plan["target_value"]).as_tuple().exponent)
    above, below = Fraction(0), None
    for item in items:
        factors = [Decimal(item[name]["factor"]) for name in ("ability", "experience", "availability")]
        assert Decimal(item["weight"]) == factors[0] * factors[1] * factors[2]
        quota, lo, hi = Decimal(item["quota"]), Decimal(item["bounds"]["lo"]), Decimal(item["bounds"]["hi"])
        assert lo <= quota <= hi
        weight = Fraction(Decimal(item["weight"]))
        if quota > lo:
            above = max(above, Fraction(quota - unit) / weight)
        if quota < hi:
            limit = Fraction(quota + unit) / weight
            below = limit if below is None else min(below, limit)
    assert below is None or above < below


async def test_a_preview_writes_nothing(goals: Goals, organisation: Organisation):
    await goals.announced()
    made, plan = await allocated(goals, {"preview": True}, status=200)
    check(plan)
    assert (plan["preview"], plan["version"], plan["currency"]) == (True, 1, "CNY")
    assert {item["external_id"] for item in plan["items"]} == {"ann", "ben", "cid"}
    assert (await goals.ok("GET", f"/quotas?goal_id={made['id']}"))["items"] == []
    assert [type(event) for event in await goals.announced()] == [GoalChanged]


async def test_every_share_is_explained(goals: Goals, organisation: Organisation):
    _, plan = await allocated(goals, WIDE)
    check(plan)
    items = {item["external_id"]: item for item in plan["items"]}
    ann, cid = items["ann"], items["cid"]
    assert ann["ability"] == {"value": 80, "factor": "1.3000"}
    assert ann["experience"] == {"months": 24, "factor": "1.0333"}
    assert ann["availability"] == {"value": "1.0000", "presence": "1.0000", "factor": "1.0000"}
    assert (ann["weight"], ann["team_id"], ann["name"]) == ("1.34329", organisation.teams["red"], "Ann")
    assert (cid["availability"]["factor"], cid["weight"]) == ("0.5000", "0.5")
    assert Decimal(ann["quota"]) > Decimal(items["ben"]["quota"])


async def test_bounds_hold_and_are_told(goals: Goals, organisation: Organisation):
    _, plan = await allocated(goals, {"bounds": {"min": "0.90", "max": "1.10"}})
    check(plan)
    bounds = {item["external_id"]: item["bounds"]["at_bound"] for item in plan["items"]}
    assert bounds["ann"] == "max"
    assert bounds["ben"] == "min"


@pytest.mark.parametrize(
    ("bounds", "bound", "gap"), [(("1.50", "2"), "min", "500.00"), (("0", "0.5"), "max", "500.00")]
)
async def test_infeasible_bounds_are_named_with_the_gap(goals: Goals, organisation: Organisation, bounds, bound, gap):
    made = await goals.ok("POST", "/goals", GOAL)
    body = {"bounds": dict(zip(("min", "max"), bounds, strict=True))}
    problem = await goals.problem("POST", f"/goals/{made['id']}/allocations", body)
    assert (problem["status"], problem["code"], problem["bound"]) == (422, "infeasible_bounds", bound)
    assert abs(Decimal(problem["gap"]) - Decimal(gap)) < Decimal("0.05")


async def test_what_cannot_be_shared_out(goals: Goals, organisation: Organisation):
    rate = GOAL | {"kpi": "win_rate", "target": "0.600000", "currency": None}
    made = await goals.ok("POST", "/goals", rate)
    problem = await goals.problem("POST", f"/goals/{made['id']}/allocations", {})
    assert (problem["status"], problem["code"]) == (422, "not_additive")
    alone = await goals.ok("POST", "/goals", GOAL | {"scope": "person:rita"})
    problem = await goals.problem("POST", f"/goals/{alone['id']}/allocations", {})
    assert (problem["status"], problem["code"]) == (422, "no_capacity")
    crossed = await goals.problem("POST", f"/goals/{alone['id']}/allocations", {"bounds": {"min": "2", "max": "1"}})
    assert crossed["errors"][0]["pointer"] == "/bounds"
    odd = await goals.problem("POST", f"/goals/{made['id']}/allocations", {"method": "dice", "to": "dogs"})
    assert {error["pointer"] for error in odd["errors"]} == {"/method", "/to"}


async def test_a_share_of_nothing_says_why_it_is_none(goals: Goals, organisation: Organisation):
    made, plan = await allocated(goals, goal=GOAL | {"target": "0.00"})
    assert {(item["share"], item["reason"]) for item in plan["items"]} == {(None, "target_is_zero")}
    _, some = await allocated(goals, {"to": "teams"})
    assert {person["reason"] for team in some["items"] for person in team["people"]} == {None}
    quotas = (await goals.ok("GET", f"/quotas?goal_id={made['id']}"))["items"]
    assert {(item["share"], item["reasons"]["share"]) for item in quotas} == {(None, "target_is_zero")}


async def test_counts_are_shared_out_in_whole_units(goals: Goals, organisation: Organisation):
    _, plan = await allocated(goals, WIDE, GOAL | {"kpi": "won_count", "target": "10", "currency": None})
    check(plan)
    assert all("." not in item["quota"] for item in plan["items"])


@pytest.mark.parametrize(("currency", "target"), [("JPY", "1000003"), ("KWD", "1000.007")])
async def test_other_minor_units(goals: Goals, organisation: Organisation, currency, target):
    _, plan = await allocated(goals, WIDE, GOAL | {"currency": currency, "target": target})
    check(plan)
    assert plan["sum"] == target


async def test_teams_get_the_sum_of_their_people(goals: Goals, organisation: Organisation):
    made, plan = await allocated(goals, WIDE | {"to": "teams"})
    assert [(team["external_id"], len(team["people"])) for team in plan["items"]] == [("north", 3)]
    under_north = GOAL | {"scope": "team:north"}
    made, plan = await allocated(goals, WIDE | {"to": "teams"}, under_north)
    people = [person for team in plan["items"] for person in team["people"]]
    check(plan | {"items": people})
    for team in plan["items"]:
        assert sum(Decimal(person["quota"]) for person in team["people"]) == Decimal(team["quota"])
    assert {team["external_id"] for team in plan["items"]} == {"red", "blue"}
    assert len((await goals.ok("GET", f"/quotas?goal_id={made['id']}"))["items"]) == 3


async def test_only_those_named_take_part(goals: Goals, organisation: Organisation):
    _, plan = await allocated(goals, {"people": ["ann", organisation.people["cid"]]})
    assert {item["external_id"] for item in plan["items"]} == {"ann", "cid"}
    red = await goals.ok("POST", "/goals", GOAL | {"scope": "team:red"})
    problem = await goals.problem("POST", f"/goals/{red['id']}/allocations", {"people": ["ann", "cid", "nobody"]})
    assert [error["pointer"] for error in problem["errors"]] == ["/people/1", "/people/2"]


async def test_a_new_plan_replaces_the_old_and_its_watches(goals: Goals, organisation: Organisation):
    made, _ = await allocated(goals, WIDE, status=201)
    await goals.announced()
    answer = await goals.call("POST", f"/goals/{made['id']}/allocations", {"people": ["ann", "cid"]})
    second = json.loads(answer.body)
    assert second["version"] == 2
    [event] = await goals.announced()
    scopes = {"org", *(f"person:{organisation.people[name]}" for name in ("ann", "cid"))}
    assert {watch.scope for watch in event.watches} == scopes
    assert all((str(watch.start), str(watch.end)) == ("2026-04-01", "2026-07-01") for watch in event.watches)
    goal = await goals.call("GET", f"/goals/{made['id']}")
    assert goal.headers["etag"] == answer.headers["etag"]
    assert json.loads(goal.body)["allocation"] == {"version": 2, "sum": "1000.01", "matches_target": True}
    quotas = (await goals.ok("GET", f"/quotas?goal_id={made['id']}"))["items"]
    assert {quota["external_id"]: quota["quota"] for quota in quotas} == {
        item["external_id"]: item["quota"] for item in second["items"]
    }
    await goals.change(f"/goals/{made['id']}", {"target": "2000.00"})
    changed = await goals.ok("GET", f"/goals/{made['id']}")
    assert changed["allocation"] == {"version": 2, "sum": "1000.01", "matches_target": False}


async def test_moves_and_leavers_count_for_their_days(goals: Goals, organisation: Organisation):
    await goals.change(f"/people/{organisation.people['ann']}", {"team_id": "blue", "effective_on": "2026-06-01"})
    await goals.change(f"/people/{organisation.people['ben']}", {"active": False, "effective_on": "2026-05-01"})
    _, plan = await allocated(goals, WIDE, GOAL | {"scope": "team:red"})
    [ann] = plan["items"]
    assert (ann["external_id"], ann["team_id"]) == ("ann", organisation.teams["red"])
    assert Decimal("0.5") < Decimal(ann["availability"]["presence"]) < Decimal("0.8")
    _, whole = await allocated(goals, WIDE)
    shares = {item["external_id"]: item for item in whole["items"]}
    assert set(shares) == {"ann", "cid"}
    assert (shares["ann"]["availability"]["presence"], shares["ann"]["team_id"]) == (
        "1.0000",
        organisation.teams["blue"],
    )


async def test_who_may_see_quotas_and_share_out(goals: Goals, organisation: Organisation):
    made, _ = await allocated(goals)
    own = await goals.ok("GET", "/quotas", role="rep", person="ann")
    assert [quota["external_id"] for quota in own["items"]] == ["ann"]
    team = await goals.ok("GET", "/quotas", role="manager", person="rita")
    assert {quota["external_id"] for quota in team["items"]} == {"ann", "ben"}
    assert (await goals.ok("GET", "/quotas?person_id=cid", role="manager", person="rita"))["items"] == []
    assert len((await goals.ok("GET", "/quotas?person_id=cid"))["items"]) == 1
    assert (await goals.ok("GET", "/quotas?person_id=nobody"))["items"] == []
    path = f"/goals/{made['id']}/allocations"
    assert (await goals.problem("POST", path, {}, role="manager", person="rita"))["status"] == 404
    assert (await goals.problem("POST", path, {}, role="rep", person="ann"))["status"] == 403
    red = await goals.ok("POST", "/goals", GOAL | {"scope": "team:red"}, role="manager", person="rita")
    plan = await goals.ok("POST", f"/goals/{red['id']}/allocations", {}, role="manager", person="rita")
    assert {item["external_id"] for item in plan["items"]} == {"ann", "ben"}


async def test_quotas_are_paged(goals: Goals, organisation: Organisation):
    await allocated(goals)
    seen, cursor = [], ""
    while cursor is not None:
        page = await goals.ok("GET", f"/quotas?limit=1{cursor and '&cursor=' + cursor}")
        seen += [quota["external_id"] for quota in page["items"]]
        cursor = page["next_cursor"]
    assert sorted(seen) == ["ann", "ben", "cid"]


async def test_a_repeated_allocation_with_its_key_is_one_plan(goals: Goals, organisation: Organisation):
    made = await goals.ok("POST", "/goals", GOAL)
    path, headers = f"/goals/{made['id']}/allocations", {"idempotency-key": "k"}
    first = await goals.call("POST", path, {}, headers=headers)
    again = await goals.call("POST", path, {}, headers=headers)
    assert again.body == first.body
    assert (await goals.ok("GET", f"/goals/{made['id']}"))["allocation"]["version"] == 1
