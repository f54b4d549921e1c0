"""A goal: a target for one KPI, one scope and one period; what it depends on and what it tells the others."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal
from uuid import UUID

from services.goals.domain.kpis import Kpi
from services.goals.domain.numbers import places_of, rounded, text_of
from shared.calendar import Period, period_of, previous_period
from shared.events.goals import GoalChanged
from shared.events.kpi import Watch

GoalGrain = Literal["day", "week", "month", "quarter", "year"]
RelativeTo = Literal["previous_period", "same_period_last_year"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What a relative target was made from, frozen: it never drifts when the past is corrected later."""

    relative_to: RelativeTo
    factor: Decimal
    start: date
    end: date
    value: Decimal
    as_of: Mapping[str, Any]
    frozen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A goal; `target` has the places of its unit, `currency` is set for money only.

    `allocation_version` is the plan in force, 0 when none was made.
    """

    id: UUID
    title: str
    kpi: Kpi
    scope: str
    period: Period
    currency: str | None
    target: Decimal
    baseline: Baseline | None
    allocation_version: int
    version: int

    @property
    def places(self) -> int:
        return places_of(self.kpi, self.currency)

    def watch(self, scope: str) -> Watch:
        """Return the value of `scope` that says how far this goal has come there."""
        return Watch(
            kpi=self.kpi.key,
            scope=scope,
            grain=self.period.grain,
            start=self.period.start,
            end=self.period.end,
            currency=self.currency,
        )

    def changed(self, people: Iterable[UUID], recorded_at: datetime, *, deleted: bool = False) -> GoalChanged:
        """Return the event that tells this state and everything it depends on; `people` have quotas."""
        scopes = () if deleted else sorted({self.scope, *(f"person:{person}" for person in people)})
        return GoalChanged(
            version=self.version,
            recorded_at=recorded_at,
            deleted=deleted,
            goal_id=self.id,
            kpi=self.kpi.key,
            scope=self.scope,
            period_start=self.period.start,
            period_end=self.period.end,
            target=text_of(self.target),
            currency=self.currency,
            watches=tuple(self.watch(scope) for scope in scopes),
        )


def goal_period(grain: GoalGrain, start: date) -> Period | None:
    """Return the period of `grain` that begins at `start`; None when none does."""
    period = period_of(start, grain)
    return period if period.start == start else None


def baseline_period(period: Period, relative_to: RelativeTo) -> Period:
    """Return the period that a relative target of `period` is measured against."""
    if relative_to == "previous_period":
        return previous_period(period)
    return period_of(_a_year_before(period), period.grain)


def _a_year_before(period: Period) -> date:
    if period.grain == "week":
        return date.fromordinal(period.start.toordinal() - 52 * 7)
    # 29 February has no namesake: its day is the 28th.
    day = 28 if (period.start.month, period.start.day) == (2, 29) else period.start.day
    return date(period.start.year - 1, period.start.month, day)


def relative_target(value: Decimal, factor: Decimal, places: int) -> Decimal:
    """Return `value * factor` rounded to `places`, halves to even."""
    return rounded(Fraction(value) * Fraction(factor), places)
