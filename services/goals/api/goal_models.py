"""What a goal looks like over HTTP."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic import ConfigDict, JsonValue

from services.goals.api.days import Day
from services.goals.api.numbers import ProgressFields
from services.goals.domain.goal import Baseline, Goal, GoalGrain, RelativeTo
from services.goals.domain.numbers import text_of
from services.goals.use_cases.targets import Relative
from shared.calendar import Grain
from shared.events.kpi import Unit
from shared.web.models import Answer, Body, Code, CurrencyCode, DecimalText, Rfc3339, ShortText
from shared.web.pagination import Pagination

_EXAMPLE: dict[str, JsonValue] = {
    "title": "2017 Q4: a tenth more than Q3",
    "kpi": "won_amount",
    "scope": "org",
    "period": {"grain": "quarter", "start": "2017-10-01"},
    "target": {"relative_to": "previous_period", "factor": "1.10"},
    "currency": "USD",
}


class PeriodBody(Body):
    """A whole period, by its first day."""

    grain: GoalGrain
    start: Day


class RelativeTargetBody(Body):
    """A target of `factor` times what an earlier period came to, read and frozen when the goal is set."""

    relative_to: RelativeTo
    factor: DecimalText

    def to_relative(self) -> Relative:
        return Relative(self.relative_to, Decimal(self.factor))


TargetBody = DecimalText | RelativeTargetBody


class NewGoalBody(Body):
    """A goal; `scope` is `org`, `team:ID` or `person:ID` (id or external id)."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    title: ShortText
    kpi: Code
    scope: ShortText = "org"
    period: PeriodBody
    target: TargetBody
    currency: CurrencyCode | None = None


class GoalChangesBody(Body):
    """What is to change; a relative target reads its baseline again."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"target": "3300000.00"}]})

    title: ShortText | None = None
    target: TargetBody | None = None


class GoalsQuery(Pagination):
    """`scope` as in a goal; `on` keeps the goals whose period holds that day."""

    kpi: Code | None = None
    scope: ShortText | None = None
    on: Day | None = None


class PeriodAnswer(Answer):
    """The days `[start, end)`."""

    grain: Grain
    start: date
    end: date


class BaselineAnswer(Answer):
    """What a relative target was made from, and up to where kpi had counted then."""

    relative_to: RelativeTo
    factor: str
    period: PeriodAnswer
    value: str
    as_of: Mapping[str, Any]
    frozen_at: Rfc3339

    @classmethod
    def of(cls, baseline: Baseline, grain: Grain) -> "BaselineAnswer":
        return cls(
            relative_to=baseline.relative_to,
            factor=text_of(baseline.factor),
            period=PeriodAnswer(grain=grain, start=baseline.start, end=baseline.end),
            value=text_of(baseline.value),
            as_of=baseline.as_of,
            frozen_at=baseline.frozen_at,
        )


class AllocationSummary(Answer):
    """The plan in force; a target changed since then no longer matches the sum of its quotas."""

    version: int
    sum: str
    matches_target: bool


class GoalAnswer(ProgressFields):
    """A goal and how far it has come."""

    id: UUID
    title: str
    kpi: str
    scope: str
    period: PeriodAnswer
    target_value: str
    unit: Unit
    currency: str | None
    baseline: BaselineAnswer | None
    allocation: AllocationSummary | None

    @classmethod
    def of(cls, goal: Goal, allocated: Decimal | None, progress: Mapping[str, Any]) -> "GoalAnswer":
        return cls(
            id=goal.id,
            title=goal.title,
            kpi=goal.kpi.key,
            scope=goal.scope,
            period=PeriodAnswer(grain=goal.period.grain, start=goal.period.start, end=goal.period.end),
            target_value=text_of(goal.target),
            unit=goal.kpi.unit,
            currency=goal.currency,
            baseline=BaselineAnswer.of(goal.baseline, goal.period.grain) if goal.baseline else None,
            allocation=None
            if allocated is None
            else AllocationSummary(
                version=goal.allocation_version, sum=text_of(allocated), matches_target=allocated == goal.target
            ),
            **progress,
        )
