"""Attainment, pace and state from a value and a day."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from services.goals.domain.goal import Goal, baseline_period, goal_period, relative_target
from services.goals.domain.kpis import KPIS
from services.goals.domain.progress import Measured, Thresholds, evaluate, working_time
from services.goals.domain.standing import Yardstick, standing_of
from shared.calendar import BusinessCalendar, Period, period_of
from shared.events.goals import GoalState

CALENDAR = BusinessCalendar(ZoneInfo("Asia/Shanghai"), overrides=tuple((date(2026, 6, d), True) for d in range(1, 31)))
START, END = date(2026, 6, 1), date(2026, 7, 1)  # thirty working days by override
NOW = datetime(2026, 6, 16, 4, tzinfo=UTC)


def told(value: str | None, version: int = 1, reason: str | None = None) -> Measured:
    return Measured(version, None if value is None else Decimal(value), reason, NOW)


def look(
    value: str | None, day: date, target: str = "3000.00", kpi: str = "won_amount", before: GoalState | None = None
):
    time = working_time(CALENDAR, START, END, day)
    return evaluate(KPIS[kpi], Decimal(target), told(value), time, Thresholds(), before)


def test_pace_is_result_over_the_part_of_the_target_that_days_gone_ask_for():
    found = look("1200.00", date(2026, 6, 16))  # 15 of 30 days over: 1500 expected
    assert (found.attainment, found.pace, found.state) == (Decimal("0.400000"), Decimal("0.800000"), "at_risk")
    assert found.reasons == {}


@pytest.mark.parametrize(
    ("value", "day", "state"),
    [
        ("3000.00", date(2026, 6, 2), "reached"),
        ("2999.99", date(2026, 6, 30), "on_track"),
        ("2999.99", date(2026, 7, 1), "missed"),
        ("1274.99", date(2026, 6, 16), "at_risk"),
        ("1275.00", date(2026, 6, 16), "on_track"),
    ],
)
def test_states(value, day, state):
    assert look(value, day).state == state


def test_a_wobble_around_the_limit_is_one_change():
    assert look("1290.00", date(2026, 6, 16), before="at_risk").state == "at_risk"  # pace 0.86
    assert look("1290.00", date(2026, 6, 16), before="on_track").state == "on_track"
    assert look("1305.00", date(2026, 6, 16), before="at_risk").state == "on_track"  # pace 0.87


@pytest.mark.parametrize(
    ("day", "reason"), [(date(2026, 5, 31), "period_not_begun"), (date(2026, 6, 1), "no_working_day_over")]
)
def test_there_is_no_pace_before_a_working_day_is_over(day, reason):
    found = look("10.00", day)
    assert (found.pace, found.state, found.reasons) == (None, "on_track", {"pace": reason})


def test_a_ratio_is_expected_in_full_on_every_day():
    assert look("0.500000", date(2026, 6, 2), target="0.600000", kpi="win_rate").pace == Decimal("0.833333")


def test_what_should_be_low_is_kept_only_at_the_end():
    assert look("4", date(2026, 6, 16), target="10", kpi="lost_count").state == "on_track"
    assert look("6", date(2026, 6, 16), target="10", kpi="lost_count").state == "at_risk"
    assert look("10", date(2026, 7, 1), target="10", kpi="lost_count").state == "reached"
    assert look("11", date(2026, 7, 1), target="10", kpi="lost_count").state == "missed"


def test_no_value_has_a_reason_for_each_null():
    time = working_time(CALENDAR, START, END, date(2026, 7, 2))
    never = evaluate(KPIS["won_amount"], Decimal(1), None, time, Thresholds())
    assert (never.state, never.reasons["result"]) == ("on_track", "not_measured_yet")
    empty = evaluate(KPIS["win_rate"], Decimal(1), told(None, reason="no_data"), time, Thresholds())
    assert (empty.state, empty.reasons) == ("missed", dict.fromkeys(("result", "attainment", "pace"), "no_data"))
    assert look("5.00", date(2026, 6, 16), target="0.00").reasons == dict.fromkeys(
        ("attainment", "pace"), "target_is_zero"
    )


def test_the_article_s_own_example_comes_out_to_the_cent():
    assert relative_target(Decimal("2982255.00"), Decimal("1.10"), 2) == Decimal("3280480.50")
    assert relative_target(Decimal("0.05"), Decimal("0.5"), 2) == Decimal("0.02")  # halves to even
    assert relative_target(Decimal("0.15"), Decimal("0.5"), 2) == Decimal("0.08")


@pytest.mark.parametrize(
    ("grain", "start", "previous", "last_year"),
    [
        ("quarter", date(2017, 10, 1), date(2017, 7, 1), date(2016, 10, 1)),
        ("month", date(2024, 1, 1), date(2023, 12, 1), date(2023, 1, 1)),
        ("week", date(2026, 6, 1), date(2026, 5, 25), date(2025, 6, 2)),
        ("year", date(2026, 1, 1), date(2025, 1, 1), date(2025, 1, 1)),
        ("day", date(2024, 2, 29), date(2024, 2, 28), date(2023, 2, 28)),
    ],
)
def test_baseline_periods(grain, start, previous, last_year):
    period = period_of(start, grain)
    assert baseline_period(period, "previous_period").start == previous
    assert baseline_period(period, "same_period_last_year").start == last_year


def test_a_period_begins_at_its_own_start_only():
    assert goal_period("quarter", date(2017, 10, 1)) == Period(date(2017, 10, 1), date(2018, 1, 1), "quarter")
    assert goal_period("quarter", date(2017, 11, 1)) is None
    assert goal_period("week", date(2026, 6, 2)) is None


def test_a_standing_is_announced_only_for_news():
    yardstick = Yardstick(CALENDAR, Thresholds())
    goal = Goal(
        id=UUID(int=1), title="", kpi=KPIS["won_amount"], scope="org", period=Period(START, END, "month"),
        currency="CNY", target=Decimal("3000.00"), baseline=None, allocation_version=0, version=1,
    )  # fmt: skip
    new = standing_of(goal, goal.target, NOW)
    assert new.updated(yardstick, NOW) == new
    first = new.updated(yardstick, NOW, measured=told("1500.00"))
    assert (first.version > 0, first.state, first.state_before) == (True, "on_track", None)
    same = first.updated(yardstick, NOW, measured=told("1500.00", version=2))
    assert (same.version, same.value_version) == (first.version, 2)
    assert same.updated(yardstick, NOW, measured=told("0.00", version=1)) == same  # older: not taken
    later = same.updated(yardstick, datetime(2026, 6, 20, 4, tzinfo=UTC))
    assert (later.state, later.state_before, later.version > same.version) == ("at_risk", "on_track", True)
    gone = later.withdrawn(NOW)
    assert gone.announced().deleted
    back = gone.updated(yardstick, NOW, target=Decimal("1500.00"))
    assert (back.deleted, back.state, back.version) == (False, "reached", gone.version + 1)
