"""Alerts in the database: one open one per instance, whatever is delivered twice."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Row, Select, bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notify.domain.alert import Alert, Subject
from services.notify.store.tables import ALERT
from shared.tracing import Cause

_OPEN = ALERT.c.state != "resolved"


async def add(tx: AsyncConnection, alerts: Sequence[Alert]) -> set[UUID]:
    """Insert new alerts and return the ids of those that were not there already."""
    if not alerts:
        return set()
    rows = [_to_row(alert) for alert in sorted(alerts, key=lambda alert: alert.instance)]
    query = insert(ALERT).values(rows).on_conflict_do_nothing().returning(ALERT.c.alert_id)
    return set((await tx.execute(query)).scalars())


async def save(tx: AsyncConnection, alerts: Sequence[Alert]) -> None:
    """Write alerts whose rows the caller has locked."""
    changing = ("state", "due_at", "fired_at", "resolved_at", "resolution", "resolved_value", "acknowledged_at")
    columns = (*changing, "acknowledged_by", "note", "recorded_at", "version")
    query = update(ALERT).where(ALERT.c.alert_id == bindparam("key"))
    rows = [{"key": row["alert_id"], **{name: row[name] for name in columns}} for row in map(_to_row, alerts)]
    if rows:
        await tx.execute(query.values({name: bindparam(name) for name in columns}), rows)


async def remove(tx: AsyncConnection, alert_ids: Collection[UUID]) -> None:
    """Forget pending alerts that never fired."""
    await tx.execute(delete(ALERT).where(ALERT.c.alert_id.in_(alert_ids)))


async def lock_open_of_rules(tx: AsyncConnection, rule_ids: Collection[UUID]) -> Sequence[Alert]:
    """Return the open alerts of rules, locked."""
    return await _locked(tx, select(ALERT).where(ALERT.c.rule_id.in_(rule_ids), _OPEN))


async def lock_open_about(tx: AsyncConnection, streams: Collection[str]) -> Sequence[Alert]:
    """Return the open alerts about these streams, locked."""
    return await _locked(tx, select(ALERT).where(ALERT.c.about.in_(streams), _OPEN))


async def due(tx: AsyncConnection, now: datetime, limit: int) -> Sequence[UUID]:
    """Return pending alerts whose time has come, unlocked."""
    query = select(ALERT.c.alert_id).where(ALERT.c.state == "pending", ALERT.c.due_at <= now)
    return list((await tx.execute(query.order_by(ALERT.c.due_at).limit(limit))).scalars())


async def lock_due(tx: AsyncConnection, alert_ids: Collection[UUID], now: datetime) -> Sequence[Alert]:
    """Return those of `alert_ids` that are still pending and due, locked; what somebody else has locked is theirs."""
    query = select(ALERT).where(ALERT.c.alert_id.in_(alert_ids), ALERT.c.state == "pending", ALERT.c.due_at <= now)
    rows = await tx.execute(query.order_by(ALERT.c.instance).with_for_update(skip_locked=True))
    return [_to_alert(row) for row in rows]


async def find(tx: AsyncConnection, alert_id: UUID, among: ColumnElement[bool], *, lock: bool = False) -> Alert | None:
    """Return an alert that has fired, among those that `among` lets see."""
    query = select(ALERT).where(ALERT.c.alert_id == alert_id, ALERT.c.state != "pending", among)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else _to_alert(row)


async def named(tx: AsyncConnection, alert_ids: Collection[UUID]) -> dict[UUID, Alert]:
    """Return alerts by id."""
    rows = await tx.execute(select(ALERT).where(ALERT.c.alert_id.in_(alert_ids)))
    return {row.alert_id: _to_alert(row) for row in rows}


async def page(
    tx: AsyncConnection, among: Sequence[ColumnElement[bool]], after: UUID | None, limit: int
) -> Sequence[Alert]:
    """Return up to `limit` alerts that have fired, the newest first, behind `after`."""
    query = select(ALERT).where(ALERT.c.state != "pending", *among).order_by(ALERT.c.alert_id.desc()).limit(limit)
    rows = await tx.execute(query if after is None else query.where(ALERT.c.alert_id < after))
    return [_to_alert(row) for row in rows]


async def export_page(tx: AsyncConnection, after: UUID | None, limit: int) -> Sequence[Alert]:
    """Return up to `limit` alerts that have fired, by id."""
    query = select(ALERT).where(ALERT.c.state != "pending").order_by(ALERT.c.alert_id).limit(limit)
    rows = await tx.execute(query if after is None else query.where(ALERT.c.alert_id > after))
    return [_to_alert(row) for row in rows]


async def _locked(tx: AsyncConnection, query: Select[Any]) -> Sequence[Alert]:
    rows = await tx.execute(query.order_by(ALERT.c.instance).with_for_update())
    return [_to_alert(row) for row in rows]


def _to_row(alert: Alert) -> dict[str, Any]:
    return {
        "alert_id": alert.id,
        "rule_id": alert.rule_id,
        "instance": alert.instance,
        "opened_by": alert.opened_by,
        "state": alert.state,
        "severity": alert.severity,
        "subject": msgspec.to_builtins(alert.subject),
        "about": alert.subject.stream,
        "scope": alert.scope,
        "owner": alert.owner,
        "due_at": alert.due_at,
        "fired_at": alert.fired_at,
        "resolved_at": alert.resolved_at,
        "resolution": alert.resolution,
        "resolved_value": alert.resolved_value,
        "acknowledged_at": alert.acknowledged_at,
        "acknowledged_by": alert.acknowledged_by,
        "note": alert.note,
        "correlation_id": alert.cause.correlation_id,
        "causation_id": alert.cause.causation_id,
        "traceparent": alert.cause.traceparent,
        "recorded_at": alert.recorded_at,
        "version": alert.version,
    }


def _to_alert(row: Row[Any]) -> Alert:
    return Alert(
        id=row.alert_id,
        rule_id=row.rule_id,
        instance=row.instance,
        opened_by=row.opened_by,
        state=row.state,
        severity=row.severity,
        subject=msgspec.convert(row.subject, Subject),
        scope=row.scope,
        owner=row.owner,
        due_at=row.due_at,
        cause=Cause(row.correlation_id, row.causation_id, row.traceparent),
        recorded_at=row.recorded_at,
        version=row.version,
        fired_at=row.fired_at,
        resolved_at=row.resolved_at,
        resolution=row.resolution,
        resolved_value=row.resolved_value,
        acknowledged_at=row.acknowledged_at,
        acknowledged_by=row.acknowledged_by,
        note=row.note,
    )
