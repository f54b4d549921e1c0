"""Rows of people."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Row, cast, func, insert, select, text, update
from sqlalchemy import Text as SqlText
from sqlalchemy.ext.asyncio import AsyncConnection

from services.goals.domain.membership import Memberships
from services.goals.domain.people import Person
from services.goals.store.tables import person
from shared.events.goals import PersonChanged

_IN_TEAMS = text(
    """
    SELECT person.id
    FROM person, jsonb_to_recordset(person.memberships) AS membership (team_id uuid, start date, "end" date)
    WHERE membership.team_id = ANY(CAST(:teams AS uuid[]))
      AND coalesce(membership.start, '-infinity') < :end AND coalesce(membership."end", 'infinity') > :start
    """
)


async def add(tx: AsyncConnection, people: Sequence[Person], recorded_at: datetime) -> None:
    """Insert people whose external ids are free, one statement; the caller holds the directory lock."""
    if people:
        await tx.execute(insert(person).values([_to_row(each) | {"recorded_at": recorded_at} for each in people]))


async def save(tx: AsyncConnection, changed: Person, recorded_at: datetime) -> None:
    """Write a person whom the caller has locked."""
    values = _to_row(changed) | {"recorded_at": recorded_at}
    await tx.execute(update(person).where(person.c.id == changed.id).values(values))


async def lock(tx: AsyncConnection, person_id: UUID) -> Person | None:
    """Return the person, locked."""
    row = (await tx.execute(select(person).where(person.c.id == person_id).with_for_update())).one_or_none()
    return _to_person(row) if row else None


async def page(
    tx: AsyncConnection,
    *,
    visible: Sequence[str] | None,
    external_id: str | None = None,
    team_id: UUID | None = None,
    today: date,
    after: UUID | None = None,
    limit: int,
) -> list[Person]:
    """Return people by id behind `after`; `visible` None means all; `team_id` keeps those in that team today."""
    wanted: list[ColumnElement[bool]] = []
    if visible is not None:
        wanted.append(cast(person.c.id, SqlText).in_(visible))
    if external_id is not None:
        wanted.append(person.c.external_id == external_id)
    if team_id is not None:
        wanted.append(person.c.id.in_(await members(tx, [team_id], today, date.fromordinal(today.toordinal() + 1))))
    if after is not None:
        wanted.append(person.c.id > after)
    rows = await tx.execute(select(person).where(*wanted).order_by(person.c.id).limit(limit))
    return [_to_person(row) for row in rows]


async def named(tx: AsyncConnection, names: Sequence[str]) -> dict[str, UUID]:
    """Return the id of each person among `names` (ids or external ids), under the name that found them."""
    rows = await tx.execute(
        select(person.c.id, person.c.external_id).where(
            cast(person.c.id, SqlText).in_(names) | person.c.external_id.in_(names)
        )
    )
    return {name: row.id for row in rows for name in (str(row.id), row.external_id)}


async def members(tx: AsyncConnection, teams: Sequence[UUID], start: date, end: date) -> set[UUID]:
    """Return who is in one of `teams` on a day of `[start, end)`."""
    rows = await tx.execute(_IN_TEAMS, {"teams": list(teams), "start": start, "end": end})
    return set(rows.scalars())


async def all_by_id(tx: AsyncConnection, ids: Sequence[UUID]) -> dict[UUID, Person]:
    """Return the people of these ids."""
    rows = await tx.execute(select(person).where(person.c.id.in_(ids)))
    return {row.id: _to_person(row) for row in rows}


async def active_reps(tx: AsyncConnection, ids: Sequence[UUID] | None = None) -> list[Person]:
    """Return the active people of role rep by id, of these ids or of everybody."""
    wanted = [person.c.role == "rep", person.c.active]
    if ids is not None:
        wanted.append(person.c.id == func.any(list(ids)))
    return [_to_person(row) for row in await tx.execute(select(person).where(*wanted).order_by(person.c.id))]


async def events(tx: AsyncConnection, ids: Sequence[UUID]) -> list[PersonChanged]:
    """Return the event that told the present state of each of these people."""
    rows = await tx.execute(select(person).where(person.c.id.in_(ids)))
    return [_to_person(row).changed(row.recorded_at) for row in rows]


def _to_person(row: Row[Any]) -> Person:
    values = {name: getattr(row, name) for name in Person.__dataclass_fields__}
    return Person(**values | {"memberships": msgspec.convert(row.memberships, Memberships)})


def _to_row(entity: Person) -> dict[str, Any]:
    values = {name: getattr(entity, name) for name in Person.__dataclass_fields__}
    return values | {"memberships": msgspec.to_builtins(entity.memberships)}
