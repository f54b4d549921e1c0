"""What notify announces: alert rules (so that kpi knows what is watched) and alerts."""

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from shared.events.base import Event, StateEvent
from shared.events.kpi import Watch

RULES = "notify.rules.v1"
ALERTS = "notify.alerts.v1"


class RuleChanged(StateEvent, frozen=True, kw_only=True):
    """An alert rule; `watches` is the whole present set of values it depends on."""

    type: ClassVar[str] = "notify.rule.changed.v1"
    topic: ClassVar[str] = RULES
    source: ClassVar[str] = "/notify"

    rule_id: UUID
    watches: tuple[Watch, ...] = ()

    @property
    def stream(self) -> str:
        return f"rule:{self.rule_id}"


class AlertChanged(StateEvent, frozen=True, kw_only=True):
    """An alert fired, was acknowledged or resolved."""

    type: ClassVar[str] = "notify.alert.changed.v1"
    topic: ClassVar[str] = ALERTS
    source: ClassVar[str] = "/notify"

    alert_id: UUID
    rule_id: UUID
    state: Literal["firing", "resolved"]
    severity: str
    subject: str
    fired_at: datetime
    acknowledged: bool = False

    @property
    def stream(self) -> str:
        return f"alert:{self.alert_id}"


EVENTS: tuple[type[Event], ...] = (RuleChanged, AlertChanged)
