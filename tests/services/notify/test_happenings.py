"""What events mean in the words of the rules."""

from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import msgspec
import pytest

from services.notify.domain.conditions import DealFilter, GoalFilter
from services.notify.domain.happenings import (
    deal_happenings,
    deal_matches,
    goal_happening,
    goal_matches,
    is_news,
    is_news_of_a_goal,
)
from shared.events.pipeline import DealCreated
from tests.services.notify.building import (
    DEMO,
    LOST,
    NOON,
    QUOTE,
    WON,
    breached,
    created,
    moved,
    progressed,
)


def test_moves_say_what_happened() -> None:
    assert deal_happenings(moved(QUOTE)) == {"deal_moved"}
    assert deal_happenings(moved(WON)) == {"deal_moved", "deal_won"}
    assert deal_happenings(moved(LOST)) == {"deal_moved", "deal_lost"}
    assert deal_happenings(moved(DEMO, before=LOST)) == {"deal_moved", "deal_reopened"}
    assert deal_happenings(moved(LOST, before=WON)) == {"deal_moved", "deal_lost"}
    assert deal_happenings(moved(QUOTE, broke=("tasks",))) == {"deal_moved", "gate_broken"}
    overridden = moved(QUOTE, broke=("tasks",), overridden=True)
    assert deal_happenings(overridden) == {"deal_moved", "gate_broken", "gate_overridden"}


def test_a_deal_that_begins_closed_counts_as_closed() -> None:
    assert deal_happenings(created()) == {"deal_created"}
    assert deal_happenings(created(WON)) == {"deal_created", "deal_won"}
    assert deal_happenings(breached()) == {"sla_breached"}


def test_old_and_undated_facts_are_no_news() -> None:
    assert is_news(NOON, NOON)
    assert is_news(NOON - timedelta(minutes=5), NOON)
    assert not is_news(NOON - timedelta(minutes=5, seconds=1), NOON)
    assert not is_news(None, NOON)


@pytest.mark.parametrize(
    ("where", "taken"),
    [
        (DealFilter(), True),
        (DealFilter(process="standard", stage=("won", "lost"), from_stage="quote"), True),
        (DealFilter(process="other"), False),
        (DealFilter(stage="demo"), False),
        (DealFilter(currency="CNY", amount_at_least=Decimal(10000)), True),
        (DealFilter(amount_at_least=Decimal("10000.01")), False),
        (DealFilter(currency="USD"), False),
        (DealFilter(product="a"), False),
    ],
)
def test_filters_on_deals(where: DealFilter, taken: bool) -> None:
    assert deal_matches(moved(WON), where) is taken


def test_a_deal_without_an_amount_is_never_large_enough() -> None:
    event = moved(WON, amount=None, currency=None)
    assert not deal_matches(event, DealFilter(amount_at_least=Decimal(0)))
    assert deal_matches(event, DealFilter())


def test_yen_have_no_minor_unit() -> None:
    event: DealCreated = created(amount=500, currency="JPY")
    assert deal_matches(event, DealFilter(amount_at_least=Decimal(500)))
    assert not deal_matches(event, DealFilter(amount_at_least=Decimal(501)))


def test_goals_change_their_state_once() -> None:
    goal = uuid4()
    at_risk = progressed("at_risk", 2, goal)
    assert goal_happening(at_risk, "on_track") == "goal_at_risk"
    assert goal_happening(at_risk, "at_risk") is None
    assert goal_happening(at_risk, None) == "goal_at_risk"
    assert goal_happening(progressed("at_risk", 2, goal, state_before="at_risk"), None) is None
    assert goal_happening(progressed("on_track", 1, goal), None) is None
    assert goal_happening(progressed("on_track", 3, goal), "at_risk") == "goal_on_track"
    assert goal_happening(msgspec.structs.replace(at_risk, deleted=True), "on_track") is None


def test_a_goal_whose_period_was_over_before_the_rule_is_no_news() -> None:
    missed = progressed("missed", 1, uuid4())
    assert is_news_of_a_goal(missed, NOON)
    assert not is_news_of_a_goal(missed, NOON + timedelta(days=60))
    assert not is_news_of_a_goal(missed, NOON + timedelta(minutes=6))


def test_quotas_are_only_meant_when_they_are_named() -> None:
    goal = progressed("at_risk", 1, uuid4())
    quota = progressed("at_risk", 1, goal.goal_id, person_id=uuid4())
    assert goal_matches(goal, GoalFilter())
    assert not goal_matches(quota, GoalFilter())
    assert goal_matches(quota, GoalFilter(subject="quota"))
    assert goal_matches(quota, GoalFilter(subject=("goal", "quota"), goal_id=goal.goal_id))
    assert not goal_matches(goal, GoalFilter(goal_id=uuid4()))


def test_a_move_between_open_stages_closes_and_reopens_nothing() -> None:
    assert deal_happenings(moved(DEMO, before=DEMO)) == {"deal_moved"}
