"""The `when` of a rule over HTTP."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, get_args
from uuid import UUID

import msgspec
from pydantic import AfterValidator, Field, PlainValidator, StringConstraints

from services.notify.domain.conditions import (
    Condition,
    DealCondition,
    DealEventName,
    GoalCondition,
    GoalEventName,
    GoalSubjectKind,
    KpiCondition,
    Operator,
    duration,
)
from shared.events.kpi import WatchGrain
from shared.web.models import Body, Code, CurrencyCode, DecimalText, MoneyBody, ShortText, StrictInt, refused

LONGEST_HOLD = timedelta(days=366)
_GOAL_EVENTS: tuple[str, ...] = get_args(GoalEventName)
_EVENTS: tuple[str, ...] = (*get_args(DealEventName), *_GOAL_EVENTS)


def _is_hold(text: str) -> str:
    try:
        held_for = duration(text)
    except ValueError:
        held_for = timedelta()
    if not timedelta() < held_for <= LONGEST_HOLD:
        zh, en = (
            "应为不超过一年的 ISO 8601 时长，例如 PT30M",
            "must be an ISO 8601 duration up to a year, such as PT30M",
        )
        raise refused("invalid_duration", {"zh": zh, "en": en})
    return text


def _is_event(name: str) -> str:
    if name not in _EVENTS:
        known = ", ".join(_EVENTS)
        raise refused("unknown_event", {"zh": f"应为以下之一：{known}", "en": f"must be one of {known}"})
    return name


def _is_not_negative(text: str) -> str:
    if Decimal(text) < 0:
        raise refused("too_small", {"zh": "应不小于 0", "en": "must be at least 0"})
    return text


ScopeText = Annotated[str, StringConstraints(pattern=r"^(org|(team|person):\S{1,200})$")]
Hold = Annotated[str, StringConstraints(max_length=50), AfterValidator(_is_hold)]
EventName = Annotated[str, StringConstraints(max_length=50), AfterValidator(_is_event)]
OneOrMany = ShortText | Annotated[list[ShortText], Field(min_length=1, max_length=100)]


class KpiWhen(Body):
    """A KPI of `scope` in the present period of `grain` against a threshold in the KPI's own unit.

    It fires when the comparison becomes true (and has been for `for`), and resolves once the value has come back beyond
    the threshold by `hysteresis` (2 % of the threshold by default). Below `min_sample_size` the value says nothing.
    """

    kpi: Code
    scope: ScopeText
    grain: WatchGrain
    op: Operator
    threshold: DecimalText | StrictInt
    hold: Annotated[Hold | None, Field(alias="for")] = None
    min_sample_size: Annotated[StrictInt, Field(ge=0)] = 0
    currency: CurrencyCode | None = None
    process: Code | None = None
    hysteresis: Annotated[DecimalText, AfterValidator(_is_not_negative)] | None = None

    def to_condition(self) -> KpiCondition:
        return KpiCondition(
            kpi=self.kpi,
            scope=self.scope,
            grain=self.grain,
            op=self.op,
            threshold=Decimal(self.threshold),
            hold=self.hold,
            min_sample_size=self.min_sample_size,
            currency=self.currency,
            process=self.process,
            hysteresis=None if self.hysteresis is None else Decimal(self.hysteresis),
        )


class DealWhere(Body):
    """Filters on the deal after the event; a list means any of it. Owners are ids or external ids."""

    process: OneOrMany | None = None
    stage: OneOrMany | None = None
    from_stage: OneOrMany | None = None
    owner: OneOrMany | None = None
    scope: ScopeText | None = None
    currency: OneOrMany | None = None
    product: OneOrMany | None = None
    source: OneOrMany | None = None
    lost_reason: OneOrMany | None = None
    amount_at_least: DecimalText | StrictInt | MoneyBody | None = None


class DealWhen(Body):
    """Something happens to a deal that passes all filters of `where`."""

    event: EventName
    where: DealWhere | None = None

    def to_condition(self) -> Condition:
        where = self.where.model_dump(exclude_none=True) if self.where else {}
        least = self.where.amount_at_least if self.where else None
        if isinstance(least, MoneyBody):
            where |= {"amount_at_least": least.amount, "currency": least.currency}
        elif least is not None:
            where["amount_at_least"] = str(least)
        return msgspec.convert({"event": self.event, "where": where}, DealCondition)


class GoalWhere(Body):
    """Filters on the goal; `subject` is `goal` unless it says `quota` (the share of one person) or both."""

    goal_id: UUID | Annotated[list[UUID], Field(min_length=1, max_length=100)] | None = None
    kpi: OneOrMany | None = None
    scope: ScopeText | None = None
    currency: OneOrMany | None = None
    subject: GoalSubjectKind | Annotated[list[GoalSubjectKind], Field(min_length=1, max_length=2)] | None = None


class GoalWhen(Body):
    """A goal that passes all filters of `where` comes into a state."""

    event: EventName
    where: GoalWhere | None = None

    def to_condition(self) -> Condition:
        where = self.where.model_dump(exclude_none=True) if self.where else {}
        return msgspec.convert({"event": self.event, "where": where}, GoalCondition)


def _read(told: object) -> KpiWhen | DealWhen | GoalWhen:
    """Read the one of the three that is meant, so that its errors point at its fields."""
    if not isinstance(told, dict) or "event" not in told:
        return KpiWhen.model_validate(told)
    return (GoalWhen if told["event"] in _GOAL_EVENTS else DealWhen).model_validate(told)


When = Annotated[
    KpiWhen | DealWhen | GoalWhen,
    PlainValidator(_read, json_schema_input_type=KpiWhen | DealWhen | GoalWhen),
]


def shown(condition: Condition) -> Mapping[str, Any]:
    """Return a condition as it is read over HTTP: what was said, without what was left out."""
    told: dict[str, Any] = msgspec.to_builtins(condition)
    return {name: value for name, value in told.items() if name != "kind" and value != {}}
