"""Periods and business time, in the organisation's own time zone."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

import holidays

Grain = Literal["day", "week", "month", "quarter", "year", "total"]
GRAINS: tuple[Grain, ...] = ("day", "week", "month", "quarter", "year", "total")
_MONTHS: Mapping[str, int] = {"month": 1, "quarter": 3, "year": 12}


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """The days `[start, end)` of one grain."""

    start: date
    end: date
    grain: Grain

    def __contains__(self, day: date) -> bool:
        return self.start <= day < self.end


def period_of(day: date, grain: Grain) -> Period:
    """Return the period of `grain` (not `total`) that holds `day`; weeks start on Monday."""
    if grain == "day":
        return Period(day, day + timedelta(days=1), grain)
    if grain == "week":
        start = day - timedelta(days=day.weekday())
        return Period(start, start + timedelta(days=7), grain)
    months = _MONTHS[grain]
    start = date(day.year, (day.month - 1) // months * months + 1, 1)
    return Period(start, add_months(start, months), grain)


def previous_period(period: Period) -> Period:
    """Return the period of the same grain that ends where `period` starts."""
    return period_of(period.start - timedelta(days=1), period.grain)


def periods_between(start: date, end: date, grain: Grain) -> list[Period]:
    """Return the periods that overlap `[start, end)`, cut to it at both ends; one period for `total`."""
    if grain == "total":
        return [Period(start, end, grain)]
    found: list[Period] = []
    day = start
    while day < end:
        whole = period_of(day, grain)
        found.append(Period(max(whole.start, start), min(whole.end, end), grain))
        day = whole.end
    return found


def add_months(day: date, months: int) -> date:
    """Return the first-of-month `day` moved by `months`."""
    index = day.year * 12 + day.month - 1 + months
    return date(index // 12, index % 12 + 1, day.day)


def local_day(moment: datetime, zone: ZoneInfo) -> date:
    """Return the calendar day of an instant in `zone`."""
    return moment.astimezone(zone).date()


def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """Return the instant (UTC) at which `day` begins in `zone`."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


@lru_cache(maxsize=64)
def _country_year(country: str, year: int) -> holidays.HolidayBase:
    return holidays.country_holidays(country, years=year)


@lru_cache(maxsize=4096)
def _is_working_day(country: str, day: date) -> bool:
    return bool(_country_year(country, day.year).is_working_day(day))


@dataclass(frozen=True, slots=True)
class BusinessCalendar:
    """Working days of a country (with its make-up workdays), `overrides` first; one working day is 24 h of SLA time."""

    zone: ZoneInfo
    country: str = "CN"
    overrides: tuple[tuple[date, bool], ...] = ()

    def is_working_day(self, day: date) -> bool:
        known = _is_working_day(self.country, day)
        return dict(self.overrides).get(day, known) if self.overrides else known

    def add_working_time(self, start: datetime, duration: timedelta) -> datetime:
        """Return when `duration` of working-day time has passed after `start`; days off do not count."""
        moment, day, left = start.astimezone(UTC), local_day(start, self.zone), duration
        while True:
            tomorrow = day + timedelta(days=1)
            # Differences within one zone ignore DST in Python: compare instants in UTC.
            midnight = start_of_day(tomorrow, self.zone)
            if self.is_working_day(day):
                rest = midnight - moment
                if rest >= left:
                    return moment + left
                left -= rest
            moment, day = midnight, tomorrow

    def working_days(self, start: date, end: date) -> int:
        """Return how many working days lie in `[start, end)`."""
        return sum(self.is_working_day(start + timedelta(days=n)) for n in range((end - start).days))
