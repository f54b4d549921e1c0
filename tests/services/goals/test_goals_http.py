"""Goals over HTTP: absolute and relative targets, what is announced, changes and who may see them."""

import json
from dataclasses import replace
from datetime import date

import pytest

from services.goals.use_cases import targets
from shared.events.goals import GoalChanged
from shared.http_client import HttpClient
from tests.services.goals.harness import Goals, Organisation

ABSOLUTE = {
    "title": "Q2",
    "kpi": "won_amount",
    "scope": "org",
    "period": {"grain": "quarter", "start": "2026-04-01"},
    "target": "1000.00",
    "currency": "CNY",
}
RELATIVE = ABSOLUTE | {
    "period": {"grain": "quarter", "start": "2017-10-01"},
    "target": {"relative_to": "previous_period", "factor": "1.10"},
    "currency": "USD",
}
PREVIOUS = ("won_amount", "org", "2017-07-01", "USD")


async def test_an_absolute_goal(goals: Goals):
    answer = await goals.call("POST", "/goals", ABSOLUTE)
    made = json.loads(answer.body)
    assert (answer.status, answer.headers["location"]) == (201, f"/goals/v1/goals/{made['id']}")
    assert made["target_value"] == "1000.00"
    assert made["period"] == {"grain": "quarter", "start": "2026-04-01", "end": "2026-07-01"}
    assert (made["unit"], made["currency"], made["state"]) == ("money", "CNY", "on_track")
    assert (made["result"], made["attainment"], made["pace"]) == (None, None, None)
    assert (made["reason"], set(made["reasons"])) == ("not_measured_yet", {"result", "attainment", "pace"})
    assert made["baseline"] is None
    assert made["allocation"] is None
    read = await goals.call("GET", f"/goals/{made['id']}")
    assert (json.loads(read.body), read.headers["etag"]) == (made, answer.headers["etag"])
    assert goals.kpi.asked == []
    [event] = await goals.announced()
    assert isinstance(event, GoalChanged)
    assert [watch.key for watch in event.watches] == ["won_amount|org|quarter|2026-04-01..2026-07-01|CNY|"]
    assert (event.target, str(event.goal_id)) == ("1000.00", made["id"])


async def test_the_article_s_goal_is_a_tenth_more_than_the_quarter_before(goals: Goals):
    goals.kpi.values[PREVIOUS] = "2982255.00"
    made = await goals.ok("POST", "/goals", RELATIVE, 201)
    assert made["target_value"] == "3280480.50"
    baseline = made["baseline"]
    assert (baseline["value"], baseline["factor"], baseline["as_of"]) == ("2982255.00", "1.10", {"applied": 42})
    assert baseline["period"] == {"grain": "quarter", "start": "2017-07-01", "end": "2017-10-01"}
    goals.kpi.values[PREVIOUS] = "1.00"
    later = await goals.ok("GET", f"/goals/{made['id']}")
    assert (later["target_value"], later["baseline"]) == ("3280480.50", baseline)  # frozen


@pytest.mark.parametrize(
    ("currency", "value", "factor", "target"),
    [("JPY", "1005", "1.10", "1106"), ("KWD", "0.105", "1.5", "0.158"), ("USD", "0.05", "0.50", "0.02")],
)
async def test_relative_targets_round_halves_to_even_in_the_currency(goals: Goals, currency, value, factor, target):
    goals.kpi.values["won_amount", "org", "2017-07-01", currency] = value
    wish = RELATIVE | {"currency": currency, "target": {"relative_to": "previous_period", "factor": factor}}
    assert (await goals.ok("POST", "/goals", wish))["target_value"] == target


async def test_the_only_currency_is_taken(goals: Goals):
    goals.kpi.values[PREVIOUS] = "100.00"
    relative = {name: value for name, value in RELATIVE.items() if name != "currency"}
    assert (await goals.ok("POST", "/goals", relative))["currency"] == "USD"
    absolute = relative | {"target": "12.30"}
    assert (await goals.ok("POST", "/goals", absolute))["currency"] == "USD"
    goals.kpi.values["won_amount", "org", "2017-07-01", "EUR"] = "100.00"
    for body in (relative, absolute):
        problem = await goals.problem("POST", "/goals", body)
        assert (problem["status"], problem["code"], problem["currencies"]) == (422, "currency_required", ["EUR", "USD"])


async def test_last_year_can_be_the_baseline(goals: Goals):
    goals.kpi.values["won_count", "org", "2016-10-01", None] = "7"
    wish = RELATIVE | {"kpi": "won_count", "target": {"relative_to": "same_period_last_year", "factor": "1.5"}}
    made = await goals.ok("POST", "/goals", {name: value for name, value in wish.items() if name != "currency"})
    assert (made["target_value"], made["unit"], made["currency"]) == ("10", "count", None)


@pytest.mark.parametrize("value", [None, "0.00", "absent"])
async def test_no_baseline_is_told_before_anything_is_written(goals: Goals, value):
    if value != "absent":
        goals.kpi.values[PREVIOUS] = value
    problem = await goals.problem("POST", "/goals", RELATIVE)
    assert (problem["status"], problem["code"]) == (422, "no_baseline")
    assert problem["period"] == {"start": "2017-07-01", "end": "2017-10-01"}
    assert (await goals.ok("GET", "/goals"))["items"] == []


async def test_a_scope_that_kpi_has_not_heard_of_yet_is_waited_for(goals: Goals, organisation: Organisation):
    ann = f"person:{organisation.people['ann']}"
    goals.kpi.values["won_amount", ann, "2017-07-01", "USD"] = "100.00"
    goals.kpi.unheard = 3
    made = await goals.ok("POST", "/goals", RELATIVE | {"scope": ann}, 201)
    assert (made["target_value"], len(goals.kpi.asked)) == ("110.00", 4)


async def test_a_scope_that_kpi_never_hears_of_has_no_values(
    goals: Goals, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(targets, "_PATIENCE_SECONDS", 0.1)
    goals.kpi.unheard = 1000
    scope = {"scope": f"person:{organisation.people['ann']}"}
    problem = await goals.problem("POST", "/goals", RELATIVE | scope)
    assert (problem["status"], problem["code"]) == (422, "no_baseline")
    problem = await goals.problem("POST", "/goals", ABSOLUTE | scope | {"currency": None})
    assert (problem["status"], problem["code"], problem["currencies"]) == (422, "currency_required", [])


async def test_the_currency_of_a_period_long_ago_is_asked_for(goals: Goals):
    goals.kpi.values["won_amount", "org", "1970-01-01", "CNY"] = "100.00"
    wish = ABSOLUTE | {"period": {"grain": "quarter", "start": "1970-01-01"}, "currency": None}
    assert (await goals.ok("POST", "/goals", wish, 201))["currency"] == "CNY"
    assert [(asked["from"], asked["to"]) for asked in goals.kpi.asked] == [("1970-01-01", "1970-04-01")]


async def test_an_unreachable_kpi_is_503_and_a_stored_reply_needs_none(goals: Goals):
    goals.kpi.values[PREVIOUS] = "100.00"
    key = {"idempotency-key": "once"}
    first = await goals.call("POST", "/goals", RELATIVE, headers=key)
    for goals.kpi.status in (404, 500):  # the one 404 that is an answer says that it is the scope's
        problem = await goals.problem("POST", "/goals", RELATIVE)
        assert (problem["status"], problem["code"]) == (503, "kpi_unavailable")
    again = await goals.call("POST", "/goals", RELATIVE, headers=key)
    assert (again.body, again.headers["idempotency-replayed"]) == (first.body, "true")

    nobody = HttpClient(base_url="http://127.0.0.1:9")  # the discard port: connection refused
    goals.service.app.state.context = replace(goals.service.app.state.context, kpi=nobody)
    assert (await goals.problem("POST", "/goals", RELATIVE))["code"] == "kpi_unavailable"
    await nobody.close()


async def test_all_faults_at_once(goals: Goals):
    body = ABSOLUTE | {
        "kpi": "happiness",
        "scope": "team:nowhere",
        "period": {"grain": "quarter", "start": "2026-05-01"},
    }
    found = await goals.problem("POST", "/goals", body)
    assert found["status"] == 422
    assert {(error["pointer"], error["code"]) for error in found["errors"]} == {
        ("/kpi", "unknown_kpi"),
        ("/scope", "unknown_scope"),
        ("/period/start", "not_a_period_start"),
    }


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"target": "10.001"}, "/target", "too_many_decimals"),
        ({"target": "-1.00"}, "/target", "out_of_range"),
        ({"kpi": "won_count", "currency": None, "target": "1.5"}, "/target", "too_many_decimals"),
        ({"kpi": "won_count", "target": "1"}, "/currency", "not_money"),
        ({"currency": "XXX"}, "/currency", "not_a_currency"),
        ({"currency": "XXX", "target": RELATIVE["target"]}, "/currency", "not_a_currency"),
        ({"target": {"relative_to": "previous_period", "factor": "0.00"}}, "/target/factor", "out_of_range"),
        ({"scope": "person:nobody"}, "/scope", "unknown_scope"),
        ({"scope": "world"}, "/scope", "unknown_scope"),
        ({"period": {"grain": "week", "start": "2026-06-16"}}, "/period/start", "not_a_period_start"),
        ({"period": {"grain": "day", "start": "9999-12-31"}}, "/period/start", "too_large"),
        ({"period": {"grain": "day", "start": 86400}}, "/period/start", "invalid_format"),
        ({"period": {"grain": "day", "start": "1767225600"}}, "/period/start", "invalid_format"),
        ({"period": {"grain": "total", "start": "2026-01-01"}}, "/period/grain", "not_allowed"),
    ],
)
async def test_one_fault(goals: Goals, change, pointer, code):
    found = await goals.problem("POST", "/goals", ABSOLUTE | change)
    assert (found["status"], [(error["pointer"], error["code"]) for error in found["errors"]]) == (
        422,
        [(pointer, code)],
    )


async def test_json_numbers_are_no_targets(goals: Goals):
    found = await goals.problem("POST", "/goals", ABSOLUTE | {"target": 1000.5})
    assert (found["status"], {error["pointer"] for error in found["errors"]}) == (422, {"/target"})


async def test_scopes_become_canonical(goals: Goals, organisation: Organisation):
    by_name = await goals.ok("POST", "/goals", ABSOLUTE | {"scope": "team:red"})
    assert by_name["scope"] == f"team:{organisation.teams['red']}"
    person = await goals.ok("POST", "/goals", ABSOLUTE | {"scope": "person:ann"})
    assert person["scope"] == f"person:{organisation.people['ann']}"
    listed = await goals.ok("GET", "/goals?scope=team:red")
    assert [goal["id"] for goal in listed["items"]] == [by_name["id"]]


async def test_change_title_and_target(goals: Goals):
    made = await goals.ok("POST", "/goals", ABSOLUTE)
    path = f"/goals/{made['id']}"
    assert (await goals.problem("PATCH", path, {"title": "x"}))["status"] == 428
    await goals.announced()
    changed = await goals.change(path, {"title": "Quarter two", "target": "1200.00"})
    assert (changed["title"], changed["target_value"]) == ("Quarter two", "1200.00")
    [event] = await goals.announced()
    assert (event.target, len(event.watches)) == ("1200.00", 1)
    goals.kpi.values["won_amount", "org", "2026-01-01", "CNY"] = "3000.00"
    relative = {"target": {"relative_to": "previous_period", "factor": "1.5"}}
    assert (await goals.change(path, relative))["target_value"] == "4500.00"
    bad = await goals.problem("PATCH", path, {"target": "0.001"}, headers={"if-match": "*"})
    assert bad["errors"][0]["pointer"] == "/target"


async def test_delete_is_a_tombstone(goals: Goals):
    answer = await goals.call("POST", "/goals", ABSOLUTE)
    path = f"/goals/{json.loads(answer.body)['id']}"
    assert (await goals.problem("DELETE", path))["status"] == 428
    assert (await goals.problem("DELETE", path, headers={"if-match": '"1"'}))["status"] == 412
    await goals.announced()
    assert (await goals.call("DELETE", path, headers={"if-match": answer.headers["etag"]})).status == 204
    [event] = await goals.announced()
    assert isinstance(event, GoalChanged)
    assert (event.deleted, event.watches) == (True, ())
    assert (await goals.problem("GET", path))["status"] == 404
    assert (await goals.ok("GET", "/goals"))["items"] == []


async def test_filters(goals: Goals):
    quarter = await goals.ok("POST", "/goals", ABSOLUTE)
    count = {name: value for name, value in ABSOLUTE.items() if name != "currency"}
    month = await goals.ok(
        "POST",
        "/goals",
        count | {"kpi": "won_count", "target": "5", "period": {"grain": "month", "start": "2026-05-01"}},
    )
    for query, expected in (
        ("kpi=won_count", [month]),
        ("on=2026-04-30", [quarter]),
        ("on=2026-05-31", [quarter, month]),
        ("on=2026-07-01", []),
        ("scope=team:nowhere", []),
    ):
        found = await goals.ok("GET", f"/goals?{query}")
        assert [goal["id"] for goal in found["items"]] == [goal["id"] for goal in expected], query
    first = await goals.ok("GET", "/goals?limit=1")
    second = await goals.ok("GET", f"/goals?limit=1&cursor={first['next_cursor']}")
    assert [first["items"][0]["id"], second["items"][0]["id"]] == [quarter["id"], month["id"]]
    assert second["next_cursor"] is None


async def test_who_may_see_and_set_goals(goals: Goals, organisation: Organisation):
    org = await goals.ok("POST", "/goals", ABSOLUTE)
    red = await goals.ok("POST", "/goals", ABSOLUTE | {"scope": "team:red"}, role="manager", person="rita")
    ann = await goals.ok("POST", "/goals", ABSOLUTE | {"scope": "person:ann"}, role="manager", person="rita")
    assert (await goals.problem("POST", "/goals", ABSOLUTE, role="manager", person="rita"))["status"] == 403
    assert (await goals.problem("POST", "/goals", ABSOLUTE | {"scope": "person:ann"}, role="rep", person="ann"))[
        "status"
    ] == 403
    seen = await goals.ok("GET", "/goals", role="manager", person="rita")
    assert [goal["id"] for goal in seen["items"]] == [red["id"], ann["id"]]
    assert [g["id"] for g in (await goals.ok("GET", "/goals", role="rep", person="ann"))["items"]] == [ann["id"]]
    for goal, who in ((org, "rita"), (red, "bob")):
        path = f"/goals/{goal['id']}"
        assert (await goals.problem("GET", path, role="manager", person=who))["status"] == 404
        headers = {"if-match": "*"}
        assert (await goals.problem("DELETE", path, role="manager", person=who, headers=headers))["status"] == 404
        assert (await goals.problem("PATCH", path, {"title": "x"}, role="manager", person=who, headers=headers))[
            "status"
        ] == 404
    assert (await goals.client.request("GET", "/goals/v1/goals")).status == 401


async def test_problems_speak_both_languages(goals: Goals):
    zh = await goals.problem("POST", "/goals", RELATIVE, headers={"accept-language": "zh-CN"})
    en = await goals.problem("POST", "/goals", RELATIVE, headers={"accept-language": "en"})
    assert "基准" in zh["detail"]
    assert "absolute target" in en["detail"]
    assert date.fromisoformat(en["period"]["start"]) == date(2017, 7, 1)
