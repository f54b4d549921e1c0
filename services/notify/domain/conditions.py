"""Conditions of alert rules: a KPI held against a threshold, or an event with filters."""

import operator
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Literal
from uuid import UUID

import msgspec

from shared.events.kpi import Watch, WatchGrain

Operator = Literal["lt", "le", "gt", "ge"]
DealEventName = Literal[
    "deal_created",
    "deal_moved",
    "deal_won",
    "deal_lost",
    "deal_reopened",
    "deal_deleted",
    "gate_broken",
    "gate_overridden",
    "sla_breached",
]
GoalEventName = Literal["goal_on_track", "goal_at_risk", "goal_reached", "goal_missed"]
GoalSubjectKind = Literal["goal", "quota"]

# A value must come back by this part of the threshold before an alert resolves: one wobble is one alert.
DEFAULT_HYSTERESIS = Decimal("0.02")
_COMPARE: Mapping[Operator, Callable[[Decimal, Decimal], bool]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
OneOrMany = str | tuple[str, ...]


class KpiCondition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="kpi"):
    """A KPI of a scope in the present period of `grain`, compared with `threshold` in the KPI's own unit.

    `hold` (`for` outside) is an ISO 8601 duration; `hysteresis` is in the KPI's unit, 2 % of the threshold by default.
    """

    kpi: str
    scope: str
    grain: WatchGrain
    op: Operator
    threshold: Decimal
    hold: str | None = msgspec.field(name="for", default=None)
    min_sample_size: int = 0
    currency: str | None = None
    process: str | None = None
    hysteresis: Decimal | None = None

    @property
    def watch(self) -> Watch:
        return Watch(kpi=self.kpi, scope=self.scope, grain=self.grain, currency=self.currency, process=self.process)

    @property
    def held_for(self) -> timedelta:
        return duration(self.hold) if self.hold else timedelta()

    def begins(self, value: Decimal) -> bool:
        """Whether `value` is on the wrong side of the threshold."""
        return _COMPARE[self.op](value, self.threshold)

    def lasts(self, value: Decimal) -> bool:
        """Whether `value` has not yet come back beyond threshold and hysteresis."""
        band = abs(self.threshold) * DEFAULT_HYSTERESIS if self.hysteresis is None else self.hysteresis
        edge = self.threshold - band if self.op in ("gt", "ge") else self.threshold + band
        return _COMPARE[self.op](value, edge)


class DealFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which deals an event rule is about; a list means any of it. `scope` is `org`, `team:ID` or `person:ID`."""

    process: OneOrMany | None = None
    stage: OneOrMany | None = None
    from_stage: OneOrMany | None = None
    owner: OneOrMany | None = None
    scope: str | None = None
    currency: OneOrMany | None = None
    product: OneOrMany | None = None
    source: OneOrMany | None = None
    lost_reason: OneOrMany | None = None
    amount_at_least: Decimal | None = None


class GoalFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which goals an event rule is about; `subject` is the goal itself unless it says `quota` (one person's share)."""

    goal_id: UUID | tuple[UUID, ...] | None = None
    kpi: OneOrMany | None = None
    scope: str | None = None
    currency: OneOrMany | None = None
    subject: GoalSubjectKind | tuple[GoalSubjectKind, ...] = "goal"


class DealCondition(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="deal"):
    """Something happened to a deal."""

    event: DealEventName
    where: DealFilter = DealFilter()


class GoalCondition(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="goal"):
    """A goal or a quota changed its state."""

    event: GoalEventName
    where: GoalFilter = GoalFilter()


EventCondition = DealCondition | GoalCondition
Condition = KpiCondition | DealCondition | GoalCondition


def scope_of(condition: Condition) -> str:
    """Return the scope that a condition is about: `org` where it names none."""
    if isinstance(condition, KpiCondition):
        return condition.scope
    return condition.where.scope or "org"


def duration(text: str) -> timedelta:
    """Return an ISO 8601 duration of days, hours, minutes and seconds (`P1DT2H`); raises ValueError."""
    try:
        found: timedelta = msgspec.convert(text, timedelta)
    except msgspec.ValidationError:
        message = f"{text!r} is not an ISO 8601 duration"
        raise ValueError(message) from None
    return found
