"""Rows of goals."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, cast
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.goals.domain.goal import Baseline, Goal
from services.goals.domain.kpis import KPIS
from services.goals.store.tables import goal, quota
from shared.calendar import Grain, Period
from shared.events.goals import GoalChanged


async def add(tx: AsyncConnection, new: Goal, recorded_at: datetime) -> None:
    """Insert a goal."""
    await tx.execute(insert(goal).values(**_to_row(new), id=new.id, recorded_at=recorded_at, deleted=False))


async def save(tx: AsyncConnection, changed: Goal, recorded_at: datetime, *, deleted: bool = False) -> None:
    """Write a goal that the caller has locked."""
    values = _to_row(changed) | {"recorded_at": recorded_at, "deleted": deleted}
    await tx.execute(update(goal).where(goal.c.id == changed.id).values(values))


async def get(tx: AsyncConnection, goal_id: UUID, *, lock: bool = False) -> Goal | None:
    """Return a goal that is not deleted, locked when asked."""
    query = select(goal).where(goal.c.id == goal_id, ~goal.c.deleted)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return _to_goal(row) if row else None


async def page(
    tx: AsyncConnection,
    *,
    scopes: Sequence[str] | None,
    kpi: str | None = None,
    scope: str | None = None,
    on: date | None = None,
    after: UUID | None = None,
    limit: int,
) -> list[Goal]:
    """Return goals by id behind `after`; `scopes` None means all; `on` keeps those whose period holds that day."""
    wanted: list[ColumnElement[bool]] = [~goal.c.deleted]
    if scopes is not None:
        wanted.append(goal.c.scope.in_(scopes))
    if kpi is not None:
        wanted.append(goal.c.kpi == kpi)
    if scope is not None:
        wanted.append(goal.c.scope == scope)
    if on is not None:
        wanted += [goal.c.period_start <= on, goal.c.period_end > on]
    if after is not None:
        wanted.append(goal.c.id > after)
    rows = await tx.execute(select(goal).where(*wanted).order_by(goal.c.id).limit(limit))
    return [_to_goal(row) for row in rows]


async def all_by_id(tx: AsyncConnection, ids: Sequence[UUID]) -> dict[UUID, Goal]:
    """Return the goals of these ids, deleted ones too."""
    rows = await tx.execute(select(goal).where(goal.c.id.in_(ids)))
    return {row.id: _to_goal(row) for row in rows}


async def events(tx: AsyncConnection, ids: Sequence[UUID]) -> list[GoalChanged]:
    """Return the event that told the present state of each of these goals, tombstones included."""
    people = (
        select(quota.c.person_id)
        .where(quota.c.goal_id == goal.c.id, quota.c.allocation_version == goal.c.allocation_version)
        .scalar_subquery()
    )
    rows = await tx.execute(select(goal, func.array(people).label("people")).where(goal.c.id.in_(ids)))
    return [_to_goal(row).changed(row.people, row.recorded_at, deleted=row.deleted) for row in rows]


def _to_goal(row: Row[Any]) -> Goal:
    return Goal(
        id=row.id,
        title=row.title,
        kpi=KPIS[row.kpi],
        scope=row.scope,
        period=Period(row.period_start, row.period_end, cast("Grain", row.grain)),
        currency=row.currency,
        target=row.target,
        baseline=msgspec.convert(row.baseline, Baseline | None, strict=False),
        allocation_version=row.allocation_version,
        version=row.version,
    )


def _to_row(entity: Goal) -> dict[str, Any]:
    return {
        "title": entity.title,
        "kpi": entity.kpi.key,
        "scope": entity.scope,
        "grain": entity.period.grain,
        "period_start": entity.period.start,
        "period_end": entity.period.end,
        "currency": entity.currency,
        "target": entity.target,
        "baseline": msgspec.to_builtins(entity.baseline, builtin_types=()),
        "allocation_version": entity.allocation_version,
        "version": entity.version,
    }
