"""An alert: one episode of a rule, about one subject, told without any name."""

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal
from uuid import UUID

import msgspec

from services.notify.domain.conditions import DealEventName, GoalEventName, Operator
from shared.events.base import Event
from shared.events.goals import GoalProgressed, GoalState
from shared.events.kpi import Unit, ValueAnnounced, WatchGrain
from shared.events.notify import AlertChanged
from shared.events.pipeline import DealEvent, DealMoved, DealSlaBreached
from shared.money import Money
from shared.tracing import Cause

Severity = Literal["info", "warning", "critical"]
AlertState = Literal["pending", "firing", "resolved"]
TransitionName = Literal["fired", "resolved"]
Resolution = Literal["recovered", "period_ended", "rule_changed", "acknowledged"]


class KpiSubject(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="kpi"):
    """The value that crossed a threshold, as it was then."""

    stream: str
    version: int
    kpi: str
    scope: str
    grain: WatchGrain
    period_start: date
    period_end: date
    op: Operator
    threshold: str
    value: str | None
    unit: Unit
    currency: str | None = None
    process: str | None = None
    sample_size: int = 0


class DealSubject(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="deal"):
    """What happened to a deal; `amount` is a decimal text in `currency`."""

    stream: str
    version: int
    event: DealEventName
    deal_id: UUID
    process: str
    stage: str
    from_stage: str | None = None
    owner: str | None = None
    customer_id: UUID | None = None
    amount: str | None = None
    currency: str | None = None
    lost_reason: str | None = None
    broke: tuple[str, ...] = ()
    level: int | None = None
    occurred_at: datetime | None = None


class GoalSubject(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="goal"):
    """A goal (or one person's quota of it) that changed its state."""

    stream: str
    version: int
    event: GoalEventName
    goal_id: UUID
    person_id: UUID | None = None
    kpi: str
    scope: str
    period_start: date
    period_end: date
    target: str
    value: str | None
    attainment: str | None
    pace: str | None
    state: GoalState
    currency: str | None = None


Subject = KpiSubject | DealSubject | GoalSubject


@dataclass(frozen=True, slots=True)
class Alert:
    """One episode. `instance` names what can be open only once; `owner` is the owner key that it is about.

    `due_at` is when a pending one fires; `cause` is that of the fact that opened it.
    """

    id: UUID
    rule_id: UUID
    instance: str
    state: AlertState
    severity: Severity
    subject: Subject
    scope: str
    owner: str | None
    due_at: datetime
    cause: Cause
    recorded_at: datetime
    version: int = 0
    fired_at: datetime | None = None
    resolved_at: datetime | None = None
    resolution: Resolution | None = None
    resolved_value: str | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    note: str | None = None
    opened_by: str = field(default="")

    def changed(self) -> AlertChanged:
        """Return the event of a firing or resolved alert as it stands."""
        return AlertChanged(
            version=self.version,
            recorded_at=self.recorded_at,
            alert_id=self.id,
            rule_id=self.rule_id,
            state="resolved" if self.state == "resolved" else "firing",
            severity=self.severity,
            subject=self.subject.stream,
            fired_at=self.fired_at or self.due_at,
            acknowledged=self.acknowledged_at is not None,
        )


def identity(event: Event) -> str:
    """Return what identifies an event for ever."""
    return f"{event.stream}@{event.version}"


def value_subject(event: ValueAnnounced, op: Operator, threshold: str) -> KpiSubject:
    """Return what an alert tells about an announced value."""
    return KpiSubject(
        stream=event.stream,
        version=event.version,
        kpi=event.watch.kpi,
        scope=event.watch.scope,
        grain=event.watch.grain,
        period_start=event.period_start,
        period_end=event.period_end,
        op=op,
        threshold=threshold,
        value=event.value,
        unit=event.unit,
        currency=event.currency,
        process=event.watch.process,
        sample_size=event.sample_size,
    )


def deal_subject(event: DealEvent, name: DealEventName) -> DealSubject:
    """Return what an alert tells about an event of a deal."""
    deal = event.deal
    worth = None if deal.amount is None or deal.currency is None else Money(deal.amount, deal.currency)
    return DealSubject(
        stream=event.stream,
        version=event.version,
        event=name,
        deal_id=event.deal_id,
        process=deal.process,
        stage=deal.stage.code,
        from_stage=event.before.stage.code if event.before else None,
        owner=deal.owner,
        customer_id=deal.customer_id,
        amount=worth.amount if worth else None,
        currency=deal.currency,
        lost_reason=deal.lost_reason,
        broke=event.broke if isinstance(event, DealMoved) else (),
        level=event.level if isinstance(event, DealSlaBreached) else None,
        occurred_at=event.occurred_at,
    )


def goal_subject(event: GoalProgressed, name: GoalEventName) -> GoalSubject:
    """Return what an alert tells about a goal's progress."""
    return GoalSubject(
        stream=event.stream,
        version=event.version,
        event=name,
        goal_id=event.goal_id,
        person_id=event.person_id,
        kpi=event.kpi,
        scope=event.scope,
        period_start=event.period_start,
        period_end=event.period_end,
        target=event.target,
        value=event.result,
        attainment=event.attainment,
        pace=event.pace,
        state=event.state,
        currency=event.currency,
    )
