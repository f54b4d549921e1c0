"""Alerts about events: what happened to deals, and goals that changed their state."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notify.domain.alert import Alert, DealSubject, GoalSubject, deal_subject, goal_subject, identity
from services.notify.domain.conditions import DealCondition, GoalCondition
from services.notify.domain.happenings import (
    deal_happenings,
    deal_matches,
    goal_happening,
    goal_matches,
    is_news,
    is_news_of_a_goal,
)
from services.notify.domain.rule import Rule, instance_of
from services.notify.store import alerts as alert_store
from services.notify.store import rules as rule_store
from services.notify.store import values as value_store
from services.notify.use_cases.alerting import Alerting, Notice
from services.notify.use_cases.reach import Reach
from shared.bus.subscription import Delivery
from shared.calendar import local_day
from shared.events.goals import GoalProgressed, GoalState
from shared.events.pipeline import DealEvent
from shared.ids import new_id


async def apply_deal_events(tx: AsyncConnection, deliveries: Sequence[Delivery], alerting: Alerting) -> None:
    """Let events of deals fire the rules about them: one alert for each rule and event, none for old news."""
    rules = await rule_store.about_events(tx)
    reach = Reach(tx)
    notices = [
        notice
        for delivery in deliveries
        if isinstance(delivery.event, DealEvent)
        for notice in _deal_notices(rules, delivery, delivery.event)
        if await reach.concerns(
            notice.rule, notice.alert.owner, notice.alert.scope, local_day(delivery.event.happened_at, alerting.zone)
        )
    ]
    await alerting.open(tx, notices)


def _deal_notices(rules: Sequence[Rule], delivery: Delivery, event: DealEvent) -> Iterator[Notice]:
    happened = deal_happenings(event)
    for rule in rules:
        condition = rule.condition
        if (
            isinstance(condition, DealCondition)
            and condition.event in happened
            and is_news(event.occurred_at, rule.since)
            and deal_matches(event, condition.where)
        ):
            yield _notice(rule, delivery, deal_subject(event, condition.event))


async def apply_goal_progress(tx: AsyncConnection, deliveries: Sequence[Delivery], alerting: Alerting) -> None:
    """Let goals that changed their state fire the rules about it; what was open about an earlier state resolves."""
    newest: dict[str, Delivery] = {}
    for delivery in deliveries:
        stream = delivery.event.stream
        if stream not in newest or newest[stream].event.version < delivery.event.version:
            newest[stream] = delivery
    progress = {stream: one.event for stream, one in newest.items() if isinstance(one.event, GoalProgressed)}
    known = await value_store.change_standings(tx, [progress[stream] for stream in sorted(progress)])
    changed = {
        stream: before
        for stream, before in known.items()
        if progress[stream].deleted or goal_happening(progress[stream], before)
    }
    if not changed:
        return
    await _leave(tx, [newest[stream] for stream in changed], alerting)
    rules = await rule_store.about_events(tx)
    reach = Reach(tx)
    notices = [
        notice
        for stream in changed
        for notice in _goal_notices(rules, newest[stream], changed)
        if await reach.concerns(
            notice.rule, notice.alert.owner, notice.alert.scope, local_day(alerting.clock(), alerting.zone)
        )
    ]
    await alerting.open(tx, notices)


def _goal_notices(rules: Sequence[Rule], delivery: Delivery, known: Mapping[str, GoalState | None]) -> Iterator[Notice]:
    event = delivery.event
    if not isinstance(event, GoalProgressed):
        return
    happened = goal_happening(event, known[event.stream])
    for rule in rules:
        condition = rule.condition
        if (
            isinstance(condition, GoalCondition)
            and condition.event == happened
            and is_news_of_a_goal(event, rule.since)
            and goal_matches(event, condition.where)
        ):
            yield _notice(rule, delivery, goal_subject(event, condition.event))


async def _leave(tx: AsyncConnection, deliveries: Sequence[Delivery], alerting: Alerting) -> None:
    """Resolve what is open about the state that these goals have left."""
    causes = {delivery.event.stream: delivery for delivery in deliveries}
    open_alerts = await alert_store.lock_open_about(tx, list(causes))
    left = [
        (
            replace(alert, resolved_at=causes[alert.subject.stream].event.recorded_at),
            causes[alert.subject.stream].envelope.cause,
        )
        for alert in open_alerts
    ]
    await alerting.resolve(tx, left, "recovered")


def _notice(rule: Rule, delivery: Delivery, subject: DealSubject | GoalSubject) -> Notice:
    event = delivery.event
    owner, scope = _owner_and_scope(subject)
    alert = Alert(
        id=new_id(),
        rule_id=rule.id,
        instance=instance_of(rule.id, identity(event)),
        opened_by=identity(event),
        state="firing",
        severity=rule.severity,
        subject=subject,
        scope=scope,
        owner=owner,
        due_at=event.recorded_at,
        fired_at=event.recorded_at,
        cause=delivery.envelope.cause,
        recorded_at=event.recorded_at,
    )
    return Notice(alert, rule, delivery.envelope.cause)


def _owner_and_scope(subject: DealSubject | GoalSubject) -> tuple[str | None, str]:
    if isinstance(subject, DealSubject):
        return subject.owner, f"person:{subject.owner.removeprefix('external:')}" if subject.owner else "org"
    if subject.person_id is not None:
        return str(subject.person_id), f"person:{subject.person_id}"
    kind, _, name = subject.scope.partition(":")
    return (name if kind == "person" else None), subject.scope
