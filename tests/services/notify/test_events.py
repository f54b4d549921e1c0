"""Event rules: deals and goals, filters that need the directory, history that alerts nobody."""

from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import pytest

from shared.events.base import Event
from tests.services.notify.building import (
    DEMO,
    LOST,
    QUOTE,
    WON,
    breached,
    created,
    message,
    moved,
    person,
    progressed,
    team,
    value,
)
from tests.services.notify.conftest import Notify


def won(**said: Any) -> Event:
    return moved(WON, version=1, **said)


async def test_a_won_deal_is_one_alert_however_often_it_is_delivered(notify: Notify) -> None:
    rule = await notify.make_rule(severity="info")
    now = notify.clock()
    event = message(won(owner="external:zhang", occurred_at=now, recorded_at=now), "move-1")
    await notify.hear(event)
    await notify.hear(event, event)
    (alert,) = await notify.alerts(rule_id=rule["id"])
    assert (alert["state"], alert["correlation_id"], alert["severity"]) == ("firing", "move-1", "info")
    subject = alert["subject"]
    assert (subject["kind"], subject["event"], subject["stage"], subject["from_stage"]) == (
        "deal", "deal_won", "won", "quote",
    )  # fmt: skip
    assert (subject["amount"], subject["currency"], subject["owner"]) == ("10000.00", "CNY", "external:zhang")
    assert subject["stream"] == f"deal:{subject['deal_id']}"
    assert len(await notify.announced("notify.alert.changed.v1")) == 1


async def test_events_delivered_out_of_order_alert_once_each(notify: Notify) -> None:
    await notify.make_rule(when={"event": "deal_moved"})
    deal, now = uuid4(), notify.clock()
    times = {"deal_id": deal, "occurred_at": now, "recorded_at": now}
    first, second, third = (created(**times), moved(QUOTE, DEMO, version=2, **times), moved(WON, version=3, **times))
    await notify.hear(third)
    assert await notify.alerts() == []
    await notify.hear(second, first, third)
    assert [alert["subject"]["stage"] for alert in await notify.alerts()] == ["won", "quote"]


async def test_history_alerts_nobody(notify: Notify) -> None:
    await notify.make_rule()
    await notify.make_rule(when={"event": "deal_created"})
    await notify.make_rule(when={"event": "sla_breached"})
    now, old = notify.clock(), notify.clock() - timedelta(days=3000)
    imported: list[Event] = []
    for _ in range(300):
        deal = uuid4()
        imported += [
            created(QUOTE, deal_id=deal, occurred_at=old, recorded_at=now),
            moved(WON, version=2, deal_id=deal, occurred_at=old + timedelta(days=9), recorded_at=now),
            breached(version=3, deal_id=deal, occurred_at=old + timedelta(days=5), recorded_at=now),
        ]
    undated = uuid4()
    imported += [
        created(WON, deal_id=undated, occurred_at=None, recorded_at=now),
        created(WON, occurred_at=now - timedelta(minutes=6), recorded_at=now),
    ]
    await notify.hear(*imported)
    assert await notify.alerts() == []
    assert await notify.deliveries() == []
    assert await notify.announced("notify.alert.changed.v1") == []
    await notify.hear_news(created(WON))
    assert sorted(alert["subject"]["event"] for alert in await notify.alerts()) == ["deal_created", "deal_won"]


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ({"owner": "zhang"}, 2),
        ({"owner": ["zhang", "wang"]}, 3),
        ({"scope": "team:east"}, 2),
        ({"scope": "team:company"}, 3),
        ({"scope": "person:wang"}, 1),
        ({"scope": "org"}, 4),
        ({"amount_at_least": "10000.01"}, 1),
    ],
)
async def test_filters_that_need_the_directory(notify: Notify, where: dict[str, Any], count: int) -> None:
    company, east, west, zhang, wang = (uuid4() for _ in range(5))
    await notify.hear(
        team(company, "company"), team(east, "east", parent_id=company), team(west, "west", parent_id=company),
        person(zhang, "zhang", east), person(wang, "wang", west),
    )  # fmt: skip
    await notify.make_rule(when={"event": "deal_won", "where": where})
    await notify.hear_news(
        won(owner=str(zhang)),
        won(owner="external:zhang", amount=1_000_100),
        won(owner=str(wang)),
        won(owner=None),
    )
    assert len(await notify.alerts()) == count


async def test_a_managers_rule_sees_what_the_manager_sees(notify: Notify) -> None:
    east, lead, zhang, wang = (uuid4() for _ in range(4))
    await notify.hear(team(east, "east", lead), person(lead, "lead", role="manager"), person(zhang, "zhang", east))
    await notify.hear(person(wang, "wang"))
    manager = notify.client("manager", "lead")
    await notify.make_rule(manager)
    await notify.hear_news(won(owner=str(zhang)), won(owner=str(wang)), won(owner=None))
    assert [alert["subject"]["owner"] for alert in await notify.alerts()] == [str(zhang)]


async def test_goals_alert_when_they_change_and_resolve_when_they_leave(notify: Notify) -> None:
    await notify.make_rule(when={"event": "goal_at_risk"}, severity="warning")
    await notify.make_rule(when={"event": "goal_reached"}, severity="info")
    goal, zhang = uuid4(), uuid4()
    await notify.hear_news(progressed("on_track", 1, goal), progressed("at_risk", 1, goal, person_id=zhang))
    assert await notify.alerts() == []
    await notify.hear_news(progressed("at_risk", 2, goal))
    await notify.hear_news(progressed("at_risk", 2, goal), progressed("at_risk", 3, goal))
    (alert,) = await notify.alerts(state="firing")
    assert (alert["subject"]["goal_id"], alert["subject"]["state"]) == (str(goal), "at_risk")
    assert (alert["subject"]["target"], alert["subject"]["value"]) == ("1000.00", "400.00")
    await notify.hear_news(progressed("reached", 5, goal), progressed("at_risk", 4, goal))
    states = {alert["subject"]["event"]: alert["state"] for alert in await notify.alerts()}
    assert states == {"goal_at_risk": "resolved", "goal_reached": "firing"}


async def test_quotas_alert_their_person(notify: Notify) -> None:
    east, zhang = uuid4(), uuid4()
    await notify.hear(team(east, "east"), person(zhang, "zhang", east))
    where = {"subject": "quota", "scope": "team:east"}
    await notify.make_rule(when={"event": "goal_at_risk", "where": where}, to="owner")
    goal = uuid4()
    await notify.hear_news(
        progressed("at_risk", 1, goal, person_id=zhang),
        progressed("at_risk", 1, goal, person_id=uuid4()),
        progressed("at_risk", 1, goal),
    )
    (alert,) = await notify.alerts()
    assert alert["subject"]["person_id"] == str(zhang)
    await notify.send_all()
    inbox = (await notify.client("rep", "zhang").get("/notify/v1/inbox")).json()
    assert [item["alert_id"] for item in inbox["items"]] == [alert["id"]]


async def test_a_goal_of_a_past_period_alerts_nobody(notify: Notify) -> None:
    await notify.make_rule(when={"event": "goal_missed"})
    past = {"period_start": date(2017, 10, 1), "period_end": date(2018, 1, 1)}
    await notify.hear_news(progressed("missed", 1, uuid4(), **past))
    assert await notify.alerts() == []
    await notify.hear_news(progressed("missed", 1, uuid4(), period_end=notify.clock().date()))
    assert len(await notify.alerts()) == 1


async def test_broken_gates_and_late_stages(notify: Notify) -> None:
    await notify.make_rule(when={"event": "gate_broken"})
    await notify.make_rule(when={"event": "sla_breached", "where": {"stage": "demo"}})
    await notify.make_rule(when={"event": "deal_lost", "where": {"lost_reason": "price"}})
    await notify.hear_news(
        moved(QUOTE, DEMO, version=1, broke=("tasks_done", "material")),
        moved(QUOTE, DEMO, version=1),
        breached(level=2),
        moved(LOST, version=1, lost_reason="price"),
        moved(LOST, version=1, lost_reason="timing"),
    )
    told = {alert["subject"]["event"]: alert["subject"] for alert in await notify.alerts()}
    assert sorted(told) == ["deal_lost", "gate_broken", "sla_breached"]
    assert told["gate_broken"]["broke"] == ["tasks_done", "material"]
    assert told["sla_breached"]["level"] == 2
    assert told["deal_lost"]["lost_reason"] == "price"


async def test_acknowledging_ends_what_an_event_caused(notify: Notify) -> None:
    await notify.make_rule()
    await notify.hear_news(won())
    (alert,) = await notify.alerts()
    client = notify.client()
    path = f"/notify/v1/alerts/{alert['id']}/acknowledgements"
    answer = await client.post(path, json={"note": "Congratulated."})
    assert answer.status_code == 201, answer.text
    assert {name: answer.json()[name] for name in ("state", "resolution", "note", "acknowledged_by")} == {
        "state": "resolved", "resolution": "acknowledged", "note": "Congratulated.", "acknowledged_by": "admin",
    }  # fmt: skip
    again = await client.post(path)
    assert (again.status_code, again.json()["note"]) == (201, "Congratulated.")
    changes = await notify.announced("notify.alert.changed.v1")
    assert [(event.state, event.acknowledged) for event in changes] == [("firing", False), ("resolved", True)]


async def test_acknowledging_leaves_what_a_value_caused_firing(notify: Notify) -> None:
    when = {"kpi": "win_rate", "scope": "org", "grain": "month", "op": "lt", "threshold": "0.20"}
    await notify.make_rule(when=when)
    await notify.hear(value("0.10", 1, recorded_at=notify.clock()))
    (alert,) = await notify.alerts()
    answer = await notify.client().post(f"/notify/v1/alerts/{alert['id']}/acknowledgements")
    assert (answer.json()["state"], answer.json()["acknowledged_by"]) == ("firing", "admin")
    await notify.hear(value("0.90", 2, recorded_at=notify.clock()))
    assert [one["resolution"] for one in await notify.alerts()] == ["recovered"]
