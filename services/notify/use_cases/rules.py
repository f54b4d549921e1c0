"""Alert rules: written, changed, taken back; announced with what they depend on."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notify.domain.alert import Severity
from services.notify.domain.conditions import Condition, KpiCondition, scope_of
from services.notify.domain.refusal import Fault, Refusal
from services.notify.domain.rule import Addressed, Rule
from services.notify.domain.versions import next_version
from services.notify.store import alerts as alert_store
from services.notify.store import channels as channel_store
from services.notify.store import rules as rule_store
from services.notify.store import values as value_store
from services.notify.store.visibility import rules_seen
from services.notify.use_cases.alerting import Alerting
from services.notify.use_cases.values import Announced, hold_against
from shared.auth.directory import can_see_scope, owner_keys, resolve_scope
from shared.auth.principal import Principal
from shared.db.engine import Database
from shared.db.outbox import announce
from shared.events.base import Names
from shared.ids import new_id
from shared.language import Text
from shared.tracing import current_cause

# A team or person that was made a moment ago is on its way here.
_PATIENCE_SECONDS = 2.0
_LOOK_AGAIN_SECONDS = 0.05

Matches = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Draft:
    """What the caller decides about a rule."""

    name: str | Names
    condition: Condition
    severity: Severity
    channels: tuple[UUID, ...]
    to: Addressed | None


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes a rule, and which KPIs there are as far as anybody could tell."""

    principal: Principal
    kpis: Collection[str] | None = None


async def await_scope(database: Database, scope: str) -> None:
    """Wait, at most 2 s, until the directory knows a scope: goals' event about it may be on its way."""
    deadline = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        async with database.transaction() as tx:
            resolved = await resolve_scope(tx, scope)
        if resolved and (not resolved.members or resolved.members[0].person_id or scope.startswith("team:")):
            return
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def create_rule(tx: AsyncConnection, draft: Draft, author: Author, alerting: Alerting) -> Rule:
    """Write a rule and hold it against the present value at once; raises Refusal."""
    settled = await _settle(tx, draft, author)
    now = alerting.clock()
    seen = await _present(tx, settled.condition)
    rule = Rule(
        id=new_id(),
        name=settled.name,
        condition=settled.condition,
        severity=settled.severity,
        channels=settled.channels,
        to=settled.to,
        bounded_by=await _bound(tx, author.principal),
        created_by=author.principal.subject,
        created_at=now,
        since=now,
        recorded_at=now,
        version=next_version(0, now),
    )
    await rule_store.add(tx, rule)
    await announce(tx, [rule.changed()])
    await hold_against(tx, [rule], seen, alerting)
    return rule


async def change_rule(
    tx: AsyncConnection, rule_id: UUID, draft: Draft, author: Author, alerting: Alerting, matches: Matches
) -> Rule | None:
    """Change a rule; with another condition what is open of it resolves and the new one counts from now.

    `matches` raises when the locked version is not the wanted one. Null when the rule has gone; raises Refusal.
    """
    settled = await _settle(tx, draft, author)
    # Values before rules, as the consumer does.
    seen = await _present(tx, settled.condition)
    rule = await rule_store.find(tx, rule_id, await rules_seen(tx, author.principal), lock=True)
    if rule is None:
        return None
    matches(rule.version)
    now = alerting.clock()
    renewed = settled.condition != rule.condition
    changed = replace(
        rule,
        name=settled.name,
        condition=settled.condition,
        severity=settled.severity,
        channels=settled.channels,
        to=settled.to,
        since=now if renewed else rule.since,
        recorded_at=now,
        version=next_version(rule.version, now),
    )
    await rule_store.save(tx, changed)
    if renewed:
        await _end_alerts(tx, changed, alerting)
    await announce(tx, [changed.changed()])
    if renewed:
        await hold_against(tx, [changed], seen, alerting)
    return changed


async def delete_rule(
    tx: AsyncConnection, rule_id: UUID, principal: Principal, alerting: Alerting, matches: Matches
) -> bool:
    """Take a rule back; what is open of it resolves. False when there is none; `matches` as in change_rule."""
    rule = await rule_store.find(tx, rule_id, await rules_seen(tx, principal), lock=True)
    if rule is None:
        return False
    matches(rule.version)
    now = alerting.clock()
    gone = replace(rule, deleted=True, recorded_at=now, version=next_version(rule.version, now))
    await rule_store.save(tx, gone)
    await _end_alerts(tx, gone, alerting)
    await announce(tx, [gone.changed()])
    return True


async def _present(tx: AsyncConnection, condition: Condition) -> list[Announced]:
    if not isinstance(condition, KpiCondition):
        return []
    return [Announced(event, current_cause()) for event in await value_store.hold(tx, condition.watch.key)]


async def _end_alerts(tx: AsyncConnection, rule: Rule, alerting: Alerting) -> None:
    open_alerts = await alert_store.lock_open_of_rules(tx, [rule.id])
    firing = [alert for alert in open_alerts if alert.state == "firing"]
    await alert_store.remove(tx, [alert.id for alert in open_alerts if alert.state == "pending"])
    cause = current_cause()
    await alerting.resolve(tx, [(alert, cause) for alert in firing], "rule_changed")


async def _bound(tx: AsyncConnection, principal: Principal) -> str | None:
    """Return the key of the manager whose sight bounds the rule; an admin's rule sees everything."""
    if principal.is_admin:
        return None
    return (await owner_keys(tx, principal.person or principal.subject))[0]


async def _settle(tx: AsyncConnection, draft: Draft, author: Author) -> Draft:
    """Return the draft with its scope in canonical form; raises Refusal with everything that does not exist."""
    faults: list[Fault] = []
    known = await channel_store.named(tx, set(draft.channels), hold=True)
    faults += [
        Fault(f"/channels/{place}", "unknown_channel", {"zh": "没有这个渠道", "en": "there is no such channel"})
        for place, channel_id in enumerate(draft.channels)
        if channel_id not in known
    ]
    if _is_unknown_kpi(draft.condition, author.kpis):
        faults.append(Fault("/when/kpi", "unknown_kpi", {"zh": "没有这个指标", "en": "there is no such KPI"}))
    condition = await _canonical(tx, draft.condition, author.principal)
    if condition is None:
        pointer = "/when/scope" if isinstance(draft.condition, KpiCondition) else "/when/where/scope"
        text: Text = {"zh": "没有这个范围，或您无权查看", "en": "there is no such scope, or you may not see it"}
        faults.append(Fault(pointer, "unknown_scope", text))
    if faults or condition is None:
        raise Refusal(faults)
    return replace(draft, condition=condition)


def _is_unknown_kpi(condition: Condition, kpis: Collection[str] | None) -> bool:
    return isinstance(condition, KpiCondition) and kpis is not None and condition.kpi not in kpis


async def _canonical(tx: AsyncConnection, condition: Condition, principal: Principal) -> Condition | None:
    scope = scope_of(condition)
    resolved = await resolve_scope(tx, scope)
    named = isinstance(condition, KpiCondition) or condition.where.scope is not None
    if resolved is None or (named and not await can_see_scope(tx, principal, scope)):
        return None
    if isinstance(condition, KpiCondition):
        return msgspec.structs.replace(condition, scope=resolved.scope)
    if not named:
        return condition
    where = msgspec.structs.replace(condition.where, scope=resolved.scope)
    return msgspec.structs.replace(condition, where=where)


def drafted(rule: Rule) -> Draft:
    """Return what the caller has decided about a rule so far."""
    return Draft(rule.name, rule.condition, rule.severity, rule.channels, rule.to)
