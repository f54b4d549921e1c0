"""What alerts say: in both languages, with names, and with ids where nobody tells a name."""

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.notify.domain.alert import Alert, Subject, deal_subject, goal_subject, value_subject
from services.notify.domain.texts import Message, references, render
from shared.events.base import Names
from shared.events.kpi import ValueAnnounced
from shared.tracing import Cause
from tests.services.notify.building import NOON, QUOTE, WON, breached, moved, progressed, value

DEAL, ZHANG, GOAL = UUID(int=1), UUID(int=2), UUID(int=3)


def alert(subject: Subject, **said: Any) -> Alert:
    made = Alert(
        uuid4(),
        uuid4(),
        "i",
        "firing",
        "warning",
        subject,
        "org",
        None,
        NOON,
        Cause("c", None, ""),
        NOON,
        fired_at=NOON,
    )
    return replace(made, **said)


def said(subject: Subject, **names: str) -> Message:
    """Return the text of a firing; names are told as `deal_<id>` for `deal:<id>`."""
    told = {reference: Names(f"{names[kind]}中", names[kind]) for reference in references(subject)
            if (kind := reference.partition(":")[0]) in names}  # fmt: skip
    return render(alert(subject), "A rule", "fired", told)


def low(number: str = "0.183", **more: Any) -> ValueAnnounced:
    return value(number, 1, **more)


def test_a_value_below_its_threshold() -> None:
    message = said(value_subject(low(), "lt", "0.20"), kpi="Win rate")
    assert message.title.en == "Win rate of the organisation is 18.3 %, below 20.0 %"
    assert message.title.zh == "全公司的Win rate中为 18.3 %，低于 20.0 %"
    assert message.text.en == "rule: A rule, period: 2026-11-01 – 2026-12-01, sample: 50"


@pytest.mark.parametrize(
    ("unit", "currency", "number", "shown"),
    [
        ("money", "CNY", "1200.00", "1200.00 CNY"),
        ("count", None, "12", "12"),
        ("seconds", None, "129600", "1.5 d"),
        ("ratio", None, "0.5", "50.0 %"),
    ],
)
def test_figures_as_people_read_them(unit: str, currency: str | None, number: str, shown: str) -> None:
    event = value(number, 1, unit=unit, currency=currency, kpi="any")
    assert said(value_subject(event, "ge", number)).title.en == f"any of the organisation is {shown}, not below {shown}"


def test_the_end_of_a_value_s_alert() -> None:
    subject = value_subject(low(), "lt", "0.20")
    over = alert(subject, state="resolved", resolved_value="0.31")
    assert render(over, "r", "resolved", {}).title.en == "Resolved: win_rate of the organisation is back at 31.0 %"
    assert render(over, "r", "resolved", {}).title.zh == "已恢复：全公司的win_rate回到 31.0 %"
    ended = alert(subject, state="resolved")
    assert render(ended, "r", "resolved", {}).title.en == "Ended: win_rate of the organisation"


def test_a_deal_with_and_without_names() -> None:
    event = moved(WON, deal_id=DEAL, owner=f"external:{ZHANG}", broke=("tasks_done",))
    subject = deal_subject(event, "deal_won")
    message = said(subject, deal="Crane", stage="Won", person="Zhang")
    assert message.title == Names("商机「Crane中」赢单", "Deal “Crane” was won")
    assert (
        message.text.en == "owner: Zhang, amount: 10000.00 CNY, stage: Won, criteria not met: tasks_done, rule: A rule"
    )
    bare = said(subject)
    assert bare.title.en == f"Deal “{DEAL}” was won"
    assert f"负责人：{ZHANG}，" in bare.text.zh
    assert "external:" not in bare.text.zh


def test_braces_in_names_are_only_braces() -> None:
    subject = deal_subject(moved(QUOTE, deal_id=DEAL), "deal_moved")
    assert said(subject, deal="{rule.__class__}", stage="{0}").title.en == "Deal “{rule.__class__}” moved to {0}"


def test_an_event_s_alert_that_is_over() -> None:
    late = deal_subject(breached(deal_id=DEAL), "sla_breached")
    title = render(alert(late, state="resolved"), Names("规则", "Rule"), "resolved", {}).title
    assert title.en == f"Resolved: Deal “{DEAL}” has stayed in demo for too long"
    assert title.zh.startswith("已处理：商机「")


def test_goals_and_quotas() -> None:
    message = said(goal_subject(progressed("at_risk", 1, GOAL), "goal_at_risk"), goal="Q4", kpi="Won amount")
    assert message.title.en == "Goal “Q4” is at risk (the organisation)"
    assert message.title.zh == "目标「Q4中」有风险（全公司）"
    assert message.text.en.startswith(
        "KPI: Won amount, result: 400.00, target: 1000.00 CNY, attainment: 40.0 %, period:"
    )
    quota = goal_subject(progressed("missed", 1, GOAL, person_id=ZHANG), "goal_missed")
    assert said(quota, goal="Q4", person="Zhang").title.en == "Goal “Q4” is missed (Zhang)"
