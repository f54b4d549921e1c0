"""Small builders of the events that notify hears, with overrides."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from services.notify.domain.conditions import KpiCondition
from shared.events.base import Event
from shared.events.codec import Message, encode
from shared.events.goals import GoalProgressed, Membership, PersonChanged, TeamChanged
from shared.events.kpi import ValueAnnounced, Watch
from shared.events.pipeline import DealCreated, DealMoved, DealSlaBreached, DealState, Stage
from shared.tracing import Cause

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DEMO = Stage("demo", "open", 2)
QUOTE = Stage("quote", "open", 3)
WON = Stage("won", "won", 5)
LOST = Stage("lost", "lost", 6)


def condition(**said: Any) -> KpiCondition:
    """A condition `win_rate < 0.20` of the organisation this month."""
    known = {"kpi": "win_rate", "scope": "org", "grain": "month", "op": "lt", "threshold": "0.20"}
    told = {**known, **said}
    told["threshold"] = Decimal(told["threshold"])
    if "hysteresis" in told:
        told["hysteresis"] = Decimal(told["hysteresis"])
    return KpiCondition(**told)


def value(number: str | None, version: int, **said: Any) -> ValueAnnounced:
    """An announced win rate of the organisation in November."""
    watch = {name: said.pop(name) for name in ("kpi", "scope", "grain", "process") if name in said}
    asked = said.pop("watch_currency", None)
    known: dict[str, Any] = {
        "version": version,
        "recorded_at": NOON,
        "watch": Watch(**{"kpi": "win_rate", "scope": "org", "grain": "month", "currency": asked, **watch}),
        "period_start": date(2026, 11, 1),
        "period_end": date(2026, 12, 1),
        "value": number,
        "unit": "ratio",
        "sample_size": 50,
    }
    return ValueAnnounced(**{**known, **said})


def deal_state(stage: Stage = DEMO, **said: Any) -> DealState:
    known: dict[str, Any] = {
        "process": "standard",
        "process_version": 1,
        "stage": stage,
        "status": stage.kind,
        "amount": 1_000_000,
        "currency": "CNY",
    }
    return DealState(**{**known, **said})


def moved(to: Stage, before: Stage = QUOTE, **said: Any) -> DealMoved:
    """A move of a deal of one million minor units."""
    state = {name: said.pop(name) for name in ("owner", "amount", "currency", "process", "lost_reason") if name in said}
    known: dict[str, Any] = {
        "version": 2,
        "recorded_at": NOON,
        "occurred_at": NOON,
        "deal_id": uuid4(),
        "move_id": uuid4(),
        "deal": deal_state(to, **state),
        "before": deal_state(before, **state),
    }
    return DealMoved(**{**known, **said})


def created(stage: Stage = DEMO, **said: Any) -> DealCreated:
    state = {name: said.pop(name) for name in ("owner", "amount", "currency", "process") if name in said}
    known: dict[str, Any] = {
        "version": 1,
        "recorded_at": NOON,
        "occurred_at": NOON,
        "deal_id": uuid4(),
        "deal": deal_state(stage, **state),
    }
    return DealCreated(**{**known, **said})


def breached(**said: Any) -> DealSlaBreached:
    known: dict[str, Any] = {
        "version": 1,
        "recorded_at": NOON,
        "occurred_at": NOON,
        "deal_id": uuid4(),
        "deal": deal_state(),
        "before": deal_state(),
        "visit": 1,
    }
    return DealSlaBreached(**{**known, **said})


def progressed(state: str, version: int, goal_id: UUID, **said: Any) -> GoalProgressed:
    known: dict[str, Any] = {
        "version": version,
        "recorded_at": NOON,
        "goal_id": goal_id,
        "kpi": "won_amount",
        "scope": "org",
        "period_start": date(2026, 10, 1),
        "period_end": date(2027, 1, 1),
        "target": "1000.00",
        "result": "400.00",
        "attainment": "0.400000",
        "pace": "0.700000",
        "state": state,
        "currency": "CNY",
    }
    return GoalProgressed(**{**known, **said})


def person(person_id: UUID, external_id: str, team_id: UUID | None = None, role: str = "rep") -> PersonChanged:
    memberships = (Membership(team_id, None, None),) if team_id else ()
    return PersonChanged(
        version=1, recorded_at=NOON, person_id=person_id, external_id=external_id, role=role, memberships=memberships
    )


def team(team_id: UUID, external_id: str, manager_id: UUID | None = None, parent_id: UUID | None = None) -> TeamChanged:
    return TeamChanged(
        version=1,
        recorded_at=NOON,
        team_id=team_id,
        external_id=external_id,
        manager_id=manager_id,
        parent_id=parent_id,
    )


def message(event: Event, correlation_id: str = "request-1") -> Message:
    """The event as the bus brings it."""
    return encode(event, Cause(correlation_id, None, "00-" + "a" * 32 + "-" + "b" * 16 + "-01"))
