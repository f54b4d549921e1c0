"""Rows of teams."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, cast, insert, select, update
from sqlalchemy import Text as SqlText
from sqlalchemy.ext.asyncio import AsyncConnection

from services.goals.domain.people import Team
from services.goals.store.tables import team
from shared.events.goals import TeamChanged


async def add(tx: AsyncConnection, teams: Sequence[Team], recorded_at: datetime) -> None:
    """Insert teams whose external ids are free, one statement; the caller holds the directory lock."""
    if teams:
        await tx.execute(insert(team).values([_to_row(each) | {"recorded_at": recorded_at} for each in teams]))


async def save(tx: AsyncConnection, changed: Team, recorded_at: datetime) -> None:
    """Write a team that the caller has locked."""
    values = _to_row(changed) | {"recorded_at": recorded_at}
    await tx.execute(update(team).where(team.c.id == changed.id).values(values))


async def lock(tx: AsyncConnection, team_id: UUID) -> Team | None:
    """Return the team, locked."""
    row = (await tx.execute(select(team).where(team.c.id == team_id).with_for_update())).one_or_none()
    return _to_team(row) if row else None


async def lock_awaiting(tx: AsyncConnection, names: Sequence[str]) -> list[Team]:
    """Return, locked, the teams whose manager was named by one of `names` and is not known yet."""
    rows = await tx.execute(
        select(team)
        .where(team.c.manager_ref.in_(names), team.c.manager_id.is_(None))
        .order_by(team.c.id)
        .with_for_update()
    )
    return [_to_team(row) for row in rows]


async def page(
    tx: AsyncConnection,
    *,
    visible: Sequence[UUID] | None,
    external_id: str | None = None,
    team_id: UUID | None = None,
    after: UUID | None = None,
    limit: int,
) -> list[Team]:
    """Return teams by id behind `after`; `visible` None means all; `team_id` keeps it and its children."""
    wanted: list[ColumnElement[bool]] = []
    if visible is not None:
        wanted.append(team.c.id.in_(visible))
    if external_id is not None:
        wanted.append(team.c.external_id == external_id)
    if team_id is not None:
        wanted.append((team.c.id == team_id) | (team.c.parent_id == team_id))
    if after is not None:
        wanted.append(team.c.id > after)
    rows = await tx.execute(select(team).where(*wanted).order_by(team.c.id).limit(limit))
    return [_to_team(row) for row in rows]


async def named(tx: AsyncConnection, names: Sequence[str]) -> dict[str, UUID]:
    """Return the id of each team among `names` (ids or external ids), under the name that found it."""
    rows = await tx.execute(
        select(team.c.id, team.c.external_id).where(cast(team.c.id, SqlText).in_(names) | team.c.external_id.in_(names))
    )
    return {name: row.id for row in rows for name in (str(row.id), row.external_id)}


async def parents(tx: AsyncConnection) -> Mapping[UUID, UUID | None]:
    """Return the parent of every team."""
    rows = await tx.execute(select(team.c.id, team.c.parent_id))
    return {row.id: row.parent_id for row in rows}


async def all_by_id(tx: AsyncConnection, ids: Sequence[UUID]) -> dict[UUID, Team]:
    """Return the teams of these ids."""
    rows = await tx.execute(select(team).where(team.c.id.in_(ids)))
    return {row.id: _to_team(row) for row in rows}


async def events(tx: AsyncConnection, ids: Sequence[UUID]) -> list[TeamChanged]:
    """Return the event that told the present state of each of these teams."""
    rows = await tx.execute(select(team).where(team.c.id.in_(ids)))
    return [_to_team(row).changed(row.recorded_at) for row in rows]


def _to_team(row: Row[Any]) -> Team:
    return Team(**{name: getattr(row, name) for name in Team.__dataclass_fields__})


def _to_row(entity: Team) -> dict[str, Any]:
    return {name: getattr(entity, name) for name in Team.__dataclass_fields__}
