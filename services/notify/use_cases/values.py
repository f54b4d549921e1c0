"""Holds announced KPI values against the rules that watch them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notify.domain.alert import Alert, KpiSubject, identity, value_subject
from services.notify.domain.conditions import KpiCondition
from services.notify.domain.episode import Episode, Observation, Transition, advance
from services.notify.domain.rule import Rule, instance_of
from services.notify.store import alerts as alert_store
from services.notify.store import rules as rule_store
from services.notify.store import values as value_store
from services.notify.use_cases.alerting import Alerting, Notice
from shared.bus.subscription import Delivery
from shared.clock import rfc3339
from shared.events.kpi import ValueAnnounced
from shared.ids import new_id
from shared.tracing import Cause


@dataclass(frozen=True, slots=True)
class Announced:
    """A value and why it was announced."""

    event: ValueAnnounced
    cause: Cause


@dataclass(slots=True)
class _Changes:
    opened: list[Notice] = field(default_factory=list)
    fired: list[Notice] = field(default_factory=list)
    recovered: list[tuple[Alert, Cause]] = field(default_factory=list)
    ended: list[tuple[Alert, Cause]] = field(default_factory=list)
    lapsed: list[UUID] = field(default_factory=list)


async def apply_values(tx: AsyncConnection, deliveries: Sequence[Delivery], alerting: Alerting) -> None:
    """Take announced values; of each rolling watch and period the newest counts, and only its newest period alerts."""
    newest: dict[str, Announced] = {}
    for delivery in deliveries:
        event = delivery.event
        if not isinstance(event, ValueAnnounced) or event.watch.start is not None:
            continue
        if event.stream not in newest or newest[event.stream].event.version < event.version:
            newest[event.stream] = Announced(event, delivery.envelope.cause)
    fresh = await value_store.keep_newest(tx, [one.event for one in newest.values()])
    keys = {newest[stream].event.watch.key for stream in fresh}
    rules = await rule_store.watching(tx, keys)
    if rules:
        current = await value_store.newest_periods(tx, keys)
        await hold_against(tx, rules, [newest[stream] for stream in sorted(fresh & current)], alerting)


async def hold_against(
    tx: AsyncConnection, rules: Sequence[Rule], seen: Sequence[Announced], alerting: Alerting
) -> None:
    """Let `seen` open, fire, resolve or drop alerts of `rules`, which the caller has locked."""
    known = await alert_store.lock_open_of_rules(tx, [rule.id for rule in rules])
    changes = _Changes()
    for rule in rules:
        open_alerts = [alert for alert in known if alert.rule_id == rule.id]
        for announced in seen:
            if announced.event.watch.key == rule.watch_key:
                _decide(rule, announced, open_alerts, changes)
    await alerting.open(tx, changes.opened)
    fired = {alert.id: alert for alert in await alerting.fire(tx, changes.fired)}
    recovered = [(_after(alert, fired), cause) for alert, cause in changes.recovered]
    await alerting.resolve(tx, recovered, "recovered")
    await alerting.resolve(tx, changes.ended, "period_ended")
    await alert_store.remove(tx, changes.lapsed)


def _after(alert: Alert, fired: Mapping[UUID, Alert]) -> Alert:
    return replace(alert, version=fired[alert.id].version) if alert.id in fired else alert


def _decide(rule: Rule, announced: Announced, open_alerts: Sequence[Alert], changes: _Changes) -> None:
    event = announced.event
    if not isinstance(rule.condition, KpiCondition):
        return
    # A rule cannot have waited since before it was there.
    at = max(event.recorded_at, rule.since)
    instance = instance_of(rule.id, event.stream)
    alert = next((one for one in open_alerts if one.instance == instance), None)
    episode = Episode(alert.state == "firing", alert.due_at) if alert else None
    value = None if event.value is None else Decimal(event.value)
    for step in advance(rule.condition, episode, Observation(value, event.sample_size, at)):
        if alert is None:
            changes.opened.append(Notice(_opened(rule, rule.condition, announced, step), rule, announced.cause))
        else:
            alert = _advanced(alert, step, rule, announced, changes)
    for other in open_alerts:
        if _is_earlier_period(other, event):
            _end(replace(other, resolved_at=at), announced.cause, changes)


def _opened(rule: Rule, condition: KpiCondition, announced: Announced, step: Transition) -> Alert:
    event = announced.event
    return Alert(
        id=new_id(),
        rule_id=rule.id,
        instance=instance_of(rule.id, event.stream),
        # A changed condition may fire on the very value that the condition before it fired on.
        opened_by=f"{identity(event)} since {rfc3339(rule.since)}",
        state="firing" if step.kind == "fired" else "pending",
        severity=rule.severity,
        subject=value_subject(event, condition.op, str(condition.threshold)),
        scope=rule.scope,
        owner=rule.scope.removeprefix("person:") if rule.scope.startswith("person:") else None,
        due_at=step.at,
        fired_at=step.at if step.kind == "fired" else None,
        cause=announced.cause,
        recorded_at=event.recorded_at,
    )


def _advanced(alert: Alert, step: Transition, rule: Rule, announced: Announced, changes: _Changes) -> Alert:
    if step.kind == "fired":
        alert = replace(alert, state="firing", fired_at=step.at)
        changes.fired.append(Notice(alert, rule, alert.cause))
    elif step.kind == "resolved":
        alert = replace(alert, resolved_at=step.at, resolved_value=announced.event.value)
        changes.recovered.append((alert, announced.cause))
    else:
        changes.lapsed.append(alert.id)
    return alert


def _is_earlier_period(alert: Alert, event: ValueAnnounced) -> bool:
    subject = alert.subject
    return (
        isinstance(subject, KpiSubject)
        and subject.currency == event.currency
        and subject.period_start < event.period_start
    )


def _end(alert: Alert, cause: Cause, changes: _Changes) -> None:
    if alert.state == "firing":
        changes.ended.append((alert, cause))
    else:
        changes.lapsed.append(alert.id)
