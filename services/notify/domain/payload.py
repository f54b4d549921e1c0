"""The body of a webhook: what happened, complete enough that nobody needs to ask back."""

from datetime import datetime
from uuid import UUID

import msgspec

from services.notify.domain.alert import Alert, AlertState, Resolution, Severity, Subject, TransitionName
from services.notify.domain.texts import Message
from shared.events.base import Names


class RuleReference(msgspec.Struct, frozen=True):
    """The rule that an alert is of."""

    id: UUID
    name: str | Names


class AlertData(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as receivers see it."""

    alert_id: UUID
    rule: RuleReference
    severity: Severity
    state: AlertState
    subject: Subject
    fired_at: datetime | None
    resolved_at: datetime | None
    resolution: Resolution | None
    resolved_value: str | None
    title: Names
    text: Names
    correlation_id: str


class WebhookBody(msgspec.Struct, frozen=True):
    """The envelope of Standard Webhooks: a type, when it happened, and the data."""

    type: str
    timestamp: datetime
    data: AlertData


def webhook_body(alert: Alert, rule_name: str | Names, transition: TransitionName, message: Message) -> bytes:
    """Return the JSON of one transition of an alert, as it was at that transition."""
    resolved = transition == "resolved"
    data = AlertData(
        alert_id=alert.id,
        rule=RuleReference(alert.rule_id, rule_name),
        severity=alert.severity,
        state="resolved" if resolved else "firing",
        subject=alert.subject,
        fired_at=alert.fired_at,
        resolved_at=alert.resolved_at if resolved else None,
        resolution=alert.resolution if resolved else None,
        resolved_value=alert.resolved_value if resolved else None,
        title=message.title,
        text=message.text,
        correlation_id=alert.cause.correlation_id,
    )
    happened_at = (alert.resolved_at if resolved else alert.fired_at) or alert.recorded_at
    return msgspec.json.encode(WebhookBody(f"alert.{transition}", happened_at, data))
