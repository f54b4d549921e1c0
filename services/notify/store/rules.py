"""Alert rules in the database."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Row, any_, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notify.domain.conditions import Condition
from services.notify.domain.rule import Addressed, Addressee, Rule
from services.notify.store.tables import RULE
from shared.events.base import Names

_LIVE = ~RULE.c.deleted
_ABOUT_EVENTS = select(RULE).where(_LIVE, RULE.c.watch_key.is_(None)).order_by(RULE.c.rule_id)


async def add(tx: AsyncConnection, rule: Rule) -> None:
    """Insert a new rule."""
    await tx.execute(insert(RULE).values(_to_row(rule)))


async def save(tx: AsyncConnection, rule: Rule) -> None:
    """Write a rule whose row the caller has locked."""
    await tx.execute(update(RULE).where(RULE.c.rule_id == rule.id).values(_to_row(rule)))


async def find(tx: AsyncConnection, rule_id: UUID, among: ColumnElement[bool], *, lock: bool = False) -> Rule | None:
    """Return a live rule among those that `among` lets see, locked for a change if asked."""
    query = select(RULE).where(RULE.c.rule_id == rule_id, _LIVE, among)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else _to_rule(row)


async def named(tx: AsyncConnection, rule_ids: Collection[UUID]) -> dict[UUID, Rule]:
    """Return rules by id, deleted ones too."""
    rows = await tx.execute(select(RULE).where(RULE.c.rule_id.in_(rule_ids)))
    return {row.rule_id: _to_rule(row) for row in rows}


async def page(tx: AsyncConnection, among: ColumnElement[bool], after: UUID | None, limit: int) -> Sequence[Rule]:
    """Return up to `limit` live rules, the newest first, behind `after`."""
    query = select(RULE).where(_LIVE, among).order_by(RULE.c.rule_id.desc()).limit(limit)
    rows = await tx.execute(query if after is None else query.where(RULE.c.rule_id < after))
    return [_to_rule(row) for row in rows]


async def watching(tx: AsyncConnection, watch_keys: Collection[str]) -> Sequence[Rule]:
    """Return the live rules on these watches; they cannot change before the transaction ends."""
    query = select(RULE).where(_LIVE, RULE.c.watch_key.in_(watch_keys)).order_by(RULE.c.rule_id)
    return [_to_rule(row) for row in await tx.execute(query.with_for_update(read=True))]


async def about_events(tx: AsyncConnection) -> Sequence[Rule]:
    """Return the live rules whose condition is an event."""
    return [_to_rule(row) for row in await tx.execute(_ABOUT_EVENTS)]


async def sending_to(tx: AsyncConnection, channel_id: UUID) -> Sequence[UUID]:
    """Return the live rules that send to a channel."""
    rows = await tx.execute(select(RULE.c.rule_id).where(_LIVE, literal(channel_id) == any_(RULE.c.channels)))
    return list(rows.scalars())


async def export_page(tx: AsyncConnection, after: UUID | None, limit: int) -> Sequence[Rule]:
    """Return up to `limit` rules by id, deleted ones too."""
    query = select(RULE).order_by(RULE.c.rule_id).limit(limit)
    rows = await tx.execute(query if after is None else query.where(RULE.c.rule_id > after))
    return [_to_rule(row) for row in rows]


def _to_row(rule: Rule) -> dict[str, Any]:
    return {
        "rule_id": rule.id,
        "name": msgspec.to_builtins(rule.name),
        "condition": msgspec.to_builtins(rule.condition),
        "watch_key": rule.watch_key,
        "scope": rule.scope,
        "severity": rule.severity,
        "channels": list(rule.channels),
        "addressed_to": msgspec.to_builtins(rule.to),
        "bounded_by": rule.bounded_by,
        "created_by": rule.created_by,
        "created_at": rule.created_at,
        "since": rule.since,
        "recorded_at": rule.recorded_at,
        "version": rule.version,
        "deleted": rule.deleted,
    }


def _to_rule(row: Row[Any]) -> Rule:
    to: Addressed | None = row.addressed_to
    if isinstance(row.addressed_to, dict):
        to = msgspec.convert(row.addressed_to, Addressee)
    return Rule(
        id=row.rule_id,
        name=row.name if isinstance(row.name, str) else msgspec.convert(row.name, Names),
        condition=msgspec.convert(row.condition, Condition),
        severity=row.severity,
        channels=tuple(row.channels),
        to=to,
        bounded_by=row.bounded_by,
        created_by=row.created_by,
        created_at=row.created_at,
        since=row.since,
        recorded_at=row.recorded_at,
        version=row.version,
        deleted=row.deleted,
    )
