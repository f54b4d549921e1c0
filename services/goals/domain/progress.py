"""How far a target has come: attainment, pace and state, from what kpi announced and the working days gone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from services.goals.domain.kpis import Kpi
from services.goals.domain.numbers import RATIO_PLACES, ratio, rounded
from shared.calendar import BusinessCalendar
from shared.events.goals import GoalState


@dataclass(frozen=True, slots=True)
class Measured:
    """What kpi last announced of a watched value; a null value has a reason."""

    version: int
    value: Decimal | None
    reason: str | None
    as_of: datetime


@dataclass(frozen=True, slots=True)
class WorkingTime:
    """The working days of a period, how many are over, and where today is."""

    whole: int
    elapsed: int
    begun: bool
    over: bool


@dataclass(frozen=True, slots=True)
class Thresholds:
    """At risk below `at_risk` of the expected pace; out of it only `hysteresis` above, so that a wobble is no news."""

    at_risk: Decimal = Decimal("0.85")
    hysteresis: Decimal = Decimal("0.02")


@dataclass(frozen=True, slots=True)
class Progress:
    """Numbers of a target at one moment; `reasons` names why each null one is null."""

    result: Decimal | None
    attainment: Decimal | None
    pace: Decimal | None
    state: GoalState
    reasons: Mapping[str, str] = field(default_factory=dict)


@lru_cache(maxsize=4096)
def working_time(calendar: BusinessCalendar, start: date, end: date, today: date) -> WorkingTime:
    """Return the working time of `[start, end)` as it stands on the morning of `today`."""
    return WorkingTime(
        whole=calendar.working_days(start, end),
        elapsed=calendar.working_days(start, min(max(today, start), end)),
        begun=today >= start,
        over=today >= end,
    )


def evaluate(
    kpi: Kpi,
    target: Decimal,
    measured: Measured | None,
    time: WorkingTime,
    thresholds: Thresholds,
    before: GoalState | None = None,
) -> Progress:
    """Return the progress towards `target`; `before` is the state so far, for the hysteresis."""
    if measured is None or measured.value is None:
        reason = measured.reason or "no_value" if measured else "not_measured_yet"
        state: GoalState = "missed" if measured and time.over else "on_track"
        return Progress(None, None, None, state, dict.fromkeys(("result", "attainment", "pace"), reason))
    attainment = ratio(measured.value, target)
    pace, no_pace = _pace(kpi, target, measured.value, time)
    reasons = {} if attainment is not None else {"attainment": "target_is_zero"}
    if no_pace:
        reasons["pace"] = no_pace
    decide = _state_upwards if kpi.direction == "up" else _state_downwards
    state = decide(measured.value, target, pace, time, _limit(thresholds, before))
    return Progress(measured.value, attainment, pace, state, reasons)


def _pace(kpi: Kpi, target: Decimal, value: Decimal, time: WorkingTime) -> tuple[Decimal | None, str | None]:
    if not time.begun:
        return None, "period_not_begun"
    part = Fraction(time.elapsed, time.whole) if kpi.accumulates and time.whole else Fraction(1)
    expected = Fraction(target) * part
    if not part:
        return None, "no_working_day_over"
    if not expected:
        return None, "target_is_zero"
    return rounded(Fraction(value) / expected, RATIO_PLACES), None


def _limit(thresholds: Thresholds, before: GoalState | None) -> Decimal:
    """How far from the expected pace is at risk, as the least pace upwards."""
    return thresholds.at_risk + (thresholds.hysteresis if before == "at_risk" else 0)


def _state_upwards(
    value: Decimal, target: Decimal, pace: Decimal | None, time: WorkingTime, limit: Decimal
) -> GoalState:
    if value >= target:
        return "reached"
    if time.over:
        return "missed"
    return "at_risk" if pace is not None and pace < limit else "on_track"


def _state_downwards(
    value: Decimal, target: Decimal, pace: Decimal | None, time: WorkingTime, limit: Decimal
) -> GoalState:
    """Less is better: the target is a ceiling, kept only when the period is over; the limit is mirrored above 1."""
    if time.over:
        return "reached" if value <= target else "missed"
    return "at_risk" if pace is not None and pace > 2 - limit else "on_track"
