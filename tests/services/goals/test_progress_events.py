"""Goals and quotas follow announced values: newest wins, duplicates and late ones change nothing, causes are kept."""

from datetime import UTC, date, datetime

import pytest

from shared.bus.consumer import apply_messages
from shared.events.codec import read_envelope
from shared.events.goals import GoalProgressed
from shared.events.kpi import Watch
from tests.services.goals.harness import Goals, Organisation, value_message

QUARTER = {"grain": "quarter", "start": date(2026, 4, 1), "end": date(2026, 7, 1)}
GOAL = {
    "title": "Q2",
    "kpi": "won_amount",
    "scope": "org",
    "period": {"grain": "quarter", "start": "2026-04-01"},
    "target": "1000.00",
    "currency": "CNY",
}


def watch(scope: str = "org", currency: str | None = "CNY", **fields: object) -> Watch:
    return Watch(**({"kpi": "won_amount", "scope": scope, "currency": currency} | QUARTER | fields))


async def test_a_value_becomes_the_result(goals: Goals):
    made = await goals.ok("POST", "/goals", GOAL)
    await goals.announced()
    await goals.tell(value_message(watch(), "250.00", 10, correlation="the-move"))
    read = await goals.ok("GET", f"/goals/{made['id']}")
    assert (read["result"], read["attainment"], read["state"]) == ("250.00", "0.250000", "at_risk")
    assert (read["reason"], read["reasons"], read["as_of"]) == (None, {}, "2026-06-16T04:00:00Z")
    assert read["pace"] is not None
    [message] = await goals.sent()
    assert read_envelope(message).cause.correlation_id == "the-move"


async def test_progress_is_told_with_the_state_before(goals: Goals):
    await goals.ok("POST", "/goals", GOAL)
    await goals.announced()
    for version, value in ((1, "100.00"), (2, "999.99"), (3, "1000.00"), (4, "900.00")):
        await goals.tell(value_message(watch(), value, version))
    events = await goals.announced()
    assert all(isinstance(event, GoalProgressed) for event in events)
    assert [(event.result, event.attainment, event.state_before, event.state) for event in events] == [
        ("100.00", "0.100000", None, "at_risk"),
        ("999.99", "0.999990", "at_risk", "on_track"),
        ("1000.00", "1.000000", "on_track", "reached"),
        ("900.00", "0.900000", "reached", "on_track"),
    ]
    versions = [event.version for event in events]
    assert versions == sorted(set(versions))


async def test_duplicates_and_late_values_change_nothing(goals: Goals):
    made = await goals.ok("POST", "/goals", GOAL)
    await goals.announced()
    newest, older = value_message(watch(), "300.00", 20), value_message(watch(), "200.00", 15)
    await goals.tell(newest)
    assert len(await goals.announced()) == 1
    for messages in ((newest,), (older,), (older, newest)):
        await goals.tell(*messages)
        assert await goals.announced() == []
    same = value_message(watch(), "300.00", 21)
    await goals.tell(same)
    assert await goals.announced() == []
    assert (await goals.ok("GET", f"/goals/{made['id']}"))["result"] == "300.00"


async def test_a_goal_made_after_a_late_value_begins_with_the_newest(goals: Goals):
    await goals.tell(value_message(watch(), "300.00", 20))
    await goals.tell(value_message(watch(), "200.00", 15))
    made = await goals.ok("POST", "/goals", GOAL)
    assert (await goals.ok("GET", f"/goals/{made['id']}"))["result"] == "300.00"


async def test_out_of_order_within_one_batch_the_newest_counts(goals: Goals):
    await goals.ok("POST", "/goals", GOAL)
    await goals.announced()
    batch = [value_message(watch(), f"{n}00.00", n, correlation=f"c{n}") for n in (2, 5, 3, 5)]
    await goals.tell(*batch)
    [message] = await goals.sent()
    assert b'"500.00"' in message.value
    assert read_envelope(message).cause.correlation_id == "c5"


async def test_a_value_known_before_the_goal_counts_at_once(goals: Goals, organisation: Organisation):
    ann = f"person:{organisation.people['ann']}"
    await goals.tell(value_message(watch(), "1500.00", 3), value_message(watch(ann), "7.00", 3))
    await goals.announced()
    made = await goals.ok("POST", "/goals", GOAL)
    assert (made["result"], made["state"]) == ("1500.00", "reached")
    progressed = [event for event in await goals.announced() if isinstance(event, GoalProgressed)]
    assert [(event.result, event.state, event.state_before) for event in progressed] == [("1500.00", "reached", None)]
    await goals.ok("POST", f"/goals/{made['id']}/allocations", {})
    quotas = {q["external_id"]: q for q in (await goals.ok("GET", "/quotas"))["items"]}
    assert (quotas["ann"]["result"], quotas["ben"]["result"]) == ("7.00", None)
    assert quotas["ben"]["reason"] == "not_measured_yet"


async def test_quotas_have_their_own_progress(goals: Goals, organisation: Organisation):
    made = await goals.ok("POST", "/goals", GOAL)
    plan = await goals.ok("POST", f"/goals/{made['id']}/allocations", {})
    await goals.announced()
    quota = {item["external_id"]: item["quota"] for item in plan["items"]}
    ann, ben = (organisation.people[name] for name in ("ann", "ben"))
    await goals.tell(
        value_message(watch(f"person:{ann}"), quota["ann"], 4, correlation="for-ann"),
        value_message(watch(f"person:{ben}"), "0.00", 4, correlation="for-ben"),
    )
    causes = {
        read_envelope(message).stream: read_envelope(message).cause.correlation_id for message in await goals.sent()
    }
    assert causes == {f"progress:{made['id']}:{ann}": "for-ann", f"progress:{made['id']}:{ben}": "for-ben"}
    told = {item["external_id"]: item for item in (await goals.ok("GET", f"/quotas?goal_id={made['id']}"))["items"]}
    assert (told["ann"]["attainment"], told["ann"]["state"]) == ("1.000000", "reached")
    assert (told["ben"]["attainment"], told["ben"]["state"]) == ("0.000000", "at_risk")
    people = await goals.ok("GET", f"/goals/{made['id']}/attainment?by=person")
    assert {item["external_id"]: item["result"] for item in people["items"]} == {
        "ann": quota["ann"], "ben": "0.00", "cid": None,
    }  # fmt: skip


async def test_attainment_is_summed_up_to_the_managers(goals: Goals, organisation: Organisation):
    made = await goals.ok("POST", "/goals", GOAL)
    plan = await goals.ok("POST", f"/goals/{made['id']}/allocations", {"bounds": {"min": "1", "max": "1"}})
    assert {item["external_id"]: item["quota"] for item in plan["items"]} == {
        "ann": "400.00",
        "ben": "400.00",
        "cid": "200.00",
    }
    for name, value in (("ann", "300.00"), ("ben", "100.00")):
        await goals.tell(value_message(watch(f"person:{organisation.people[name]}"), value, 4))
    path = f"/goals/{made['id']}/attainment"
    for by in ("team", "person"):
        assert (await goals.ok("GET", f"{path}?by={by}"))["next_cursor"] is None
    found = {item["external_id"]: item for item in (await goals.ok("GET", f"{path}?by=team"))["items"]}
    assert {
        name: (item["quota"], item["result"], item["attainment"], item["unmeasured"]) for name, item in found.items()
    } == {
        "north": ("1000.00", "400.00", "0.400000", 1),
        "red": ("800.00", "400.00", "0.500000", 0),
        "blue": ("200.00", None, None, 1),
    }
    assert (found["red"]["manager_external_id"], found["red"]["manager_name"]) == ("rita", "Rita")
    assert found["blue"]["reason"] == "not_measured_yet"
    mine = await goals.ok("GET", path, role="manager", person="rita")
    assert [item["external_id"] for item in mine["items"]] == ["red"]
    own = await goals.ok("GET", f"{path}?by=person", role="rep", person="ben")
    assert [item["external_id"] for item in own["items"]] == ["ben"]
    other = await goals.ok("POST", "/goals", GOAL)
    assert (await goals.problem("GET", f"/goals/{other['id']}/attainment", role="rep", person="ben"))["status"] == 404


async def test_values_of_others_are_left_alone(goals: Goals):
    made = await goals.ok("POST", "/goals", GOAL)
    await goals.announced()
    await goals.tell(
        value_message(watch(currency="USD"), "1.00", 1),
        value_message(watch(process="b2b"), "2.00", 1),
        value_message(watch(grain="month"), "3.00", 1),
        value_message(watch(kpi="open_pipeline_amount"), "4.00", 1),
    )
    assert await goals.announced() == []
    assert (await goals.ok("GET", f"/goals/{made['id']}"))["result"] is None


async def test_a_null_value_takes_the_result_back_with_its_reason(goals: Goals):
    made = await goals.ok("POST", "/goals", GOAL)
    await goals.tell(value_message(watch(), "600.00", 1))
    await goals.announced()
    await goals.tell(value_message(watch(), None, 2))
    [event] = await goals.announced()
    assert (event.result, event.attainment) == (None, None)
    read = await goals.ok("GET", f"/goals/{made['id']}")
    assert (read["result"], read["reason"]) == (None, "no_data")


async def test_days_that_pass_are_told_only_when_the_state_changes(goals: Goals):
    made = await goals.ok("POST", "/goals", GOAL)
    await goals.tell(value_message(watch(), "850.00", 1))
    assert (await goals.ok("GET", f"/goals/{made['id']}"))["state"] == "on_track"
    await goals.announced()
    states = []
    for now in (
        datetime(2026, 6, 17, tzinfo=UTC),
        datetime(2026, 6, 30, tzinfo=UTC),
        datetime(2026, 6, 30, 16, tzinfo=UTC),
    ):
        goals.clock.now = now
        await goals.run_job("review_running_goals")
        await goals.run_job("review_running_goals")
        states += [(event.state_before, event.state) for event in await goals.announced()]
    assert states == [("on_track", "missed")]
    assert (await goals.ok("GET", f"/goals/{made['id']}"))["state"] == "missed"


async def test_a_goal_falls_behind_by_the_days_alone(goals: Goals):
    goals.clock.now = datetime(2026, 4, 20, tzinfo=UTC)
    await goals.ok("POST", "/goals", GOAL)
    await goals.tell(value_message(watch(), "400.00", 1))
    await goals.announced()
    goals.clock.now = datetime(2026, 6, 10, tzinfo=UTC)
    await goals.run_job("review_running_goals")
    [event] = await goals.announced()
    assert (event.state_before, event.state, event.result) == ("on_track", "at_risk", "400.00")


async def test_whoever_loses_a_quota_is_told_no_more(goals: Goals, organisation: Organisation):
    made = await goals.ok("POST", "/goals", GOAL)
    path = f"/goals/{made['id']}/allocations"
    await goals.ok("POST", path, {})
    cid = organisation.people["cid"]
    await goals.tell(value_message(watch(f"person:{cid}"), "10.00", 1))
    await goals.announced()
    await goals.ok("POST", path, {"people": ["ann", "ben"]})
    gone = [event for event in await goals.announced() if isinstance(event, GoalProgressed) and event.deleted]
    assert [str(event.person_id) for event in gone] == [cid]
    await goals.tell(value_message(watch(f"person:{cid}"), "20.00", 2))
    assert await goals.announced() == []
    await goals.ok("POST", path, {"people": ["cid"]})
    [back] = [event for event in await goals.announced() if isinstance(event, GoalProgressed) and not event.deleted]
    assert (back.result, back.target) == ("20.00", "1000.00")
    assert back.version > gone[0].version


@pytest.mark.parametrize("target", ["500.00", "100.00"])
async def test_a_new_target_is_progress_too(goals: Goals, target):
    made = await goals.ok("POST", "/goals", GOAL)
    await goals.tell(value_message(watch(), "250.00", 1))
    await goals.announced()
    await goals.change(f"/goals/{made['id']}", {"target": target})
    [event] = [event for event in await goals.announced() if isinstance(event, GoalProgressed)]
    assert (event.target, event.result) == (target, "250.00")
    assert event.state == ("at_risk" if target == "500.00" else "reached")


async def test_a_value_that_cannot_be_read_is_a_dead_letter_and_no_other(goals: Goals):
    made = await goals.ok("POST", "/goals", GOAL)
    bad, good = value_message(watch(grain="month"), "much", 5), value_message(watch(), "5.00", 5)
    outcome = await apply_messages(goals.database, goals.service.subscriptions[0], [bad, good])
    assert outcome.count("dead") == 1, outcome.results
    assert (await goals.ok("GET", f"/goals/{made['id']}"))["result"] == "5.00"
