"""Rows of plans and their quotas; a plan is never changed, the goal names the one in force."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, insert, select, tuple_
from sqlalchemy import Text as SqlText
from sqlalchemy import cast as sql_cast
from sqlalchemy.ext.asyncio import AsyncConnection

from services.goals.store.tables import allocation, goal, quota


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaRow:
    """One person's quota in one plan; `explanation` is what the API tells about it."""

    goal_id: UUID
    allocation_version: int
    person_id: UUID
    team_id: UUID | None
    quota: Decimal
    explanation: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationRow:
    """One plan: how the target was shared out, by whom and when."""

    goal_id: UUID
    version: int
    shared_to: str
    method: str
    bounds: Mapping[str, str]
    target: Decimal
    recorded_at: datetime
    recorded_by: str


async def add_plan(tx: AsyncConnection, plan: AllocationRow, quotas: Sequence[QuotaRow]) -> None:
    """Insert a plan with its quotas; the goal is locked."""
    await tx.execute(insert(allocation).values(_columns(plan)))
    await tx.execute(insert(quota).values([_columns(each) for each in quotas]))


async def sums(tx: AsyncConnection, goal_ids: Sequence[UUID]) -> dict[UUID, Decimal]:
    """Return the sum of the quotas in force of each goal that has any."""
    rows = await tx.execute(
        select(quota.c.goal_id, func.sum(quota.c.quota).label("total"))
        .where(quota.c.goal_id.in_(goal_ids), _in_force())
        .group_by(quota.c.goal_id)
    )
    return {row.goal_id: row.total for row in rows}


async def people_of(tx: AsyncConnection, goal_ids: Sequence[UUID]) -> dict[UUID, list[UUID]]:
    """Return who has a quota in force, by goal."""
    rows = await tx.execute(
        select(quota.c.goal_id, quota.c.person_id).where(quota.c.goal_id.in_(goal_ids), _in_force())
    )
    found: dict[UUID, list[UUID]] = {}
    for row in rows:
        found.setdefault(row.goal_id, []).append(row.person_id)
    return found


async def page(
    tx: AsyncConnection,
    *,
    visible: Sequence[str] | None,
    goal_id: UUID | None = None,
    person_id: UUID | None = None,
    after: tuple[UUID, UUID] | None = None,
    limit: int | None = None,
) -> list[QuotaRow]:
    """Return quotas in force by goal and person behind `after`; `visible` None means everybody's."""
    wanted: list[ColumnElement[bool]] = [_in_force()]
    if visible is not None:
        wanted.append(sql_cast(quota.c.person_id, SqlText).in_(visible))
    if goal_id is not None:
        wanted.append(quota.c.goal_id == goal_id)
    if person_id is not None:
        wanted.append(quota.c.person_id == person_id)
    if after is not None:
        wanted.append(tuple_(quota.c.goal_id, quota.c.person_id) > tuple_(*after))
    rows = await tx.execute(select(quota).where(*wanted).order_by(quota.c.goal_id, quota.c.person_id).limit(limit))
    return [QuotaRow(**row._mapping) for row in rows]


def _in_force() -> ColumnElement[bool]:
    return (
        select(1)
        .where(
            and_(
                goal.c.id == quota.c.goal_id,
                goal.c.allocation_version == quota.c.allocation_version,
                ~goal.c.deleted,
            )
        )
        .exists()
    )


def _columns(row: QuotaRow | AllocationRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__dataclass_fields__}
