"""Periods are half-open, local and never overlap; business time knows make-up workdays."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.calendar import (
    BusinessCalendar,
    Grain,
    local_day,
    period_of,
    periods_between,
    previous_period,
    start_of_day,
)

SHANGHAI = ZoneInfo("Asia/Shanghai")
NEW_YORK = ZoneInfo("America/New_York")
DAYS = st.dates(date(1990, 1, 1), date(2100, 1, 1))
SPANS: list[Grain] = ["day", "week", "month", "quarter", "year"]


@given(day=DAYS, grain=st.sampled_from(SPANS))
def test_a_period_holds_its_day_and_touches_its_neighbours(day: date, grain: Grain) -> None:
    period = period_of(day, grain)
    assert day in period
    assert period_of(period.end, grain).start == period.end
    assert previous_period(period).end == period.start
    assert period_of(period.start, grain) == period


@given(start=DAYS, length=st.integers(0, 800), grain=st.sampled_from([*SPANS, "total"]))
def test_periods_cover_a_range_without_gap_or_overlap(start: date, length: int, grain: Grain) -> None:
    end = start + timedelta(days=length)
    periods = periods_between(start, end, grain)
    assert sum((period.end - period.start).days for period in periods) == length
    assert all(left.end == right.start for left, right in pairwise(periods))


def test_quarters_of_the_article() -> None:
    assert period_of(date(2017, 11, 5), "quarter").start == date(2017, 10, 1)
    assert period_of(date(2017, 12, 31), "week").start == date(2017, 12, 25)


@given(day=DAYS, zone=st.sampled_from([SHANGHAI, NEW_YORK]))
def test_a_day_begins_on_that_day(day: date, zone: ZoneInfo) -> None:
    begin = start_of_day(day, zone)
    assert local_day(begin, zone) == day
    assert local_day(begin - timedelta(microseconds=1), zone) == day - timedelta(days=1)


def test_make_up_workdays_and_holidays() -> None:
    calendar = BusinessCalendar(SHANGHAI)
    assert calendar.is_working_day(date(2026, 2, 14))
    assert not calendar.is_working_day(date(2026, 10, 1))
    assert calendar.working_days(date(2026, 2, 1), date(2026, 3, 1)) == 16
    assert not BusinessCalendar(SHANGHAI, overrides=((date(2026, 2, 14), False),)).is_working_day(date(2026, 2, 14))


@pytest.mark.parametrize(
    ("start", "days", "expected"),
    [
        (datetime(2026, 3, 5, 10, tzinfo=SHANGHAI), 1, datetime(2026, 3, 6, 10, tzinfo=SHANGHAI)),
        (datetime(2026, 3, 6, 10, tzinfo=SHANGHAI), 1, datetime(2026, 3, 9, 10, tzinfo=SHANGHAI)),
        (datetime(2026, 3, 7, 10, tzinfo=SHANGHAI), 1, datetime(2026, 3, 10, 0, tzinfo=SHANGHAI)),
    ],
)
def test_working_time_leaves_out_days_off(start: datetime, days: int, expected: datetime) -> None:
    due = BusinessCalendar(SHANGHAI).add_working_time(start, timedelta(days=days))
    assert abs(due - expected.astimezone(UTC)) < timedelta(seconds=1)


def test_working_time_over_a_clock_change_is_real_time() -> None:
    friday = datetime(2026, 3, 6, 12, tzinfo=NEW_YORK)
    due = BusinessCalendar(NEW_YORK, country="US").add_working_time(friday, timedelta(days=1))
    assert due == datetime(2026, 3, 9, 12, tzinfo=NEW_YORK).astimezone(UTC)


@given(
    day=DAYS,
    time=st.timedeltas(timedelta(0), timedelta(days=1)),
    length=st.timedeltas(timedelta(0), timedelta(days=60)),
)
def test_working_time_is_the_working_part_of_the_time_that_passes(
    day: date, time: timedelta, length: timedelta
) -> None:
    start = start_of_day(day, NEW_YORK) + time
    calendar = BusinessCalendar(NEW_YORK, country="US")
    due = calendar.add_working_time(start, length)
    days = [local_day(start, NEW_YORK) + timedelta(days=n) for n in range((due - start).days + 3)]
    worked = [
        min(due, start_of_day(day + timedelta(days=1), NEW_YORK)) - max(start, start_of_day(day, NEW_YORK))
        for day in days
        if calendar.is_working_day(day)
    ]
    assert sum((max(part, timedelta(0)) for part in worked), timedelta(0)) == length
