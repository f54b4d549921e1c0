"""People and teams as every service needs them: whose rows a principal may see, and whose rows a scope means.

A read model of goals' events in each service's own database (tables in shared.db.platform). An owner key is a text: a
person's id, or `external:<external id>` while the person is not known; both keys of a person mean the same person.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.auth.directory_updates import apply_people
from shared.auth.principal import Principal
from shared.clock import utc_now

__all__ = [
    "ResolvedScope",
    "ScopeMember",
    "Visibility",
    "apply_people",
    "can_see_scope",
    "keys_of",
    "owner_key",
    "owner_keys",
    "resolve_scope",
    "visible",
]

EXTERNAL = "external:"
ORGANISATION = "org"


class DayRange(NamedTuple):
    """The days `[start, end)`; open sides are date.min and date.max."""

    start: date
    end: date


ALWAYS = DayRange(date.min, date.max)


@dataclass(frozen=True, slots=True)
class Visibility:
    """What a principal may see: everything, or the rows of these owners and the numbers of these teams."""

    everything: bool
    owner_keys: tuple[str, ...] = ()
    team_ids: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class ScopeMember:
    """One person of a scope: both owner keys, and the disjoint days on which the person belongs to it."""

    person_id: UUID | None
    owner_keys: tuple[str, ...]
    ranges: tuple[DayRange, ...]


@dataclass(frozen=True, slots=True)
class ResolvedScope:
    """A scope in its canonical text; the organisation has everybody and lists nobody."""

    scope: str
    members: tuple[ScopeMember, ...] = ()

    @property
    def is_organisation(self) -> bool:
        return self.scope == ORGANISATION


# Ids and external ids share one namespace for the caller; an id wins, then the living, then the newest.
_PERSON = text(
    """
    SELECT person_id, external_id FROM directory_person
    WHERE NOT deleted AND (person_id = CAST(:id AS uuid) OR external_id = :external_id)
    ORDER BY (person_id = CAST(:id AS uuid)) IS TRUE DESC, version DESC LIMIT 1
    """
)
_TEAM = text(
    """
    SELECT team_id FROM directory_team
    WHERE NOT deleted AND (team_id = CAST(:id AS uuid) OR external_id = :external_id)
    ORDER BY (team_id = CAST(:id AS uuid)) IS TRUE DESC, version DESC LIMIT 1
    """
)
# UNION, not UNION ALL: teams that name each other as parents must not turn for ever.
_MANAGED_TEAMS = text(
    """
    WITH RECURSIVE subtree AS (
        SELECT team_id FROM directory_team WHERE NOT deleted AND manager_id = :manager_id
        UNION
        SELECT child.team_id FROM directory_team child JOIN subtree ON child.parent_id = subtree.team_id
        WHERE NOT child.deleted
    )
    SELECT team_id FROM subtree ORDER BY team_id
    """
)
_PRESENT_MEMBERS = text(
    """
    SELECT DISTINCT person_id, external_id FROM directory_membership JOIN directory_person USING (person_id)
    WHERE team_id = ANY(:team_ids) AND start_day <= :day AND :day < end_day AND NOT deleted ORDER BY person_id
    """
)
_MEMBERS = text(
    """
    WITH RECURSIVE subtree AS (
        SELECT CAST(:team_id AS uuid) AS team_id
        UNION
        SELECT child.team_id FROM directory_team child JOIN subtree ON child.parent_id = subtree.team_id
        WHERE NOT child.deleted
    )
    SELECT person_id, external_id, start_day, end_day
    FROM subtree JOIN directory_membership USING (team_id) JOIN directory_person USING (person_id)
    WHERE NOT deleted ORDER BY person_id, start_day, end_day
    """
)


def keys_of(person_id: UUID, external_id: str) -> tuple[str, str]:
    """Return both owner keys of a known person."""
    return str(person_id), EXTERNAL + external_id


async def owner_key(tx: AsyncConnection, *, person_id: UUID | None = None, external_id: str | None = None) -> str:
    """Return the key under which to record an owner who is named by id or by external id; ValueError without either."""
    if person_id is not None:
        return str(person_id)
    if external_id is None:
        message = "an owner is named by person_id or external_id"
        raise ValueError(message)
    row = (await tx.execute(_PERSON, {"id": None, "external_id": external_id})).first()
    return str(row.person_id) if row else EXTERNAL + external_id


async def owner_keys(tx: AsyncConnection, person: str) -> tuple[str, ...]:
    """Return every key that means `person` (an id, an external id, or an owner key), known or not."""
    _, keys = await _person(tx, person)
    return keys


async def visible(tx: AsyncConnection, principal: Principal, *, on: date | None = None) -> Visibility:
    """Return whose rows `principal` may see: a rep's own, a manager's own and of the teams below, an admin's all.

    Membership counts on the day `on`, today (UTC) by default.
    """
    if principal.is_admin:
        return Visibility(everything=True)
    if principal.person is None:
        return Visibility(everything=False)
    person_id, own = await _person(tx, principal.person)
    if principal.role == "rep" or person_id is None:
        return Visibility(everything=False, owner_keys=own)
    teams = tuple((await tx.execute(_MANAGED_TEAMS, {"manager_id": person_id})).scalars())
    day = on or utc_now().date()
    rows = (await tx.execute(_PRESENT_MEMBERS, {"team_ids": list(teams), "day": day})).all()
    keys = dict.fromkeys([*own, *(key for row in rows for key in keys_of(row.person_id, row.external_id))])
    return Visibility(everything=False, owner_keys=tuple(keys), team_ids=teams)


async def resolve_scope(tx: AsyncConnection, scope: str) -> ResolvedScope | None:
    """Return whom `org`, `team:ID` or `person:ID` means (ID: id or external id); None for what names nothing.

    A person nobody told about yet still is a scope: facts may already carry the external id as their owner.
    """
    kind, _, name = scope.partition(":")
    if scope == ORGANISATION:
        return ResolvedScope(ORGANISATION)
    if kind == "person" and name:
        person_id, keys = await _person(tx, name)
        canonical = str(person_id) if person_id else name.removeprefix(EXTERNAL)
        return ResolvedScope(f"person:{canonical}", (ScopeMember(person_id, keys, (ALWAYS,)),))
    if kind == "team" and name:
        team_id = (await tx.execute(_TEAM, {"id": _uuid(name), "external_id": name})).scalar_one_or_none()
        return ResolvedScope(f"team:{team_id}", await _members(tx, team_id)) if team_id else None
    return None


async def can_see_scope(tx: AsyncConnection, principal: Principal, scope: str) -> bool:
    """Tell whether `principal` may see the numbers of `scope`; False also for a scope that names nothing."""
    resolved = await resolve_scope(tx, scope)
    if resolved is None or principal.is_admin:
        return resolved is not None
    if resolved.is_organisation:
        return False
    sight = await visible(tx, principal)
    kind, _, name = resolved.scope.partition(":")
    if kind == "team":
        return UUID(name) in sight.team_ids
    return not set(sight.owner_keys).isdisjoint(resolved.members[0].owner_keys)


async def _person(tx: AsyncConnection, person: str) -> tuple[UUID | None, tuple[str, ...]]:
    name = person.removeprefix(EXTERNAL)
    as_id = _uuid(name) if name == person else None
    row = (await tx.execute(_PERSON, {"id": as_id, "external_id": name})).first()
    if row is not None:
        return row.person_id, keys_of(row.person_id, row.external_id)
    return None, (EXTERNAL + name,) if as_id is None else (str(as_id), EXTERNAL + name)


async def _members(tx: AsyncConnection, team_id: UUID) -> tuple[ScopeMember, ...]:
    rows = (await tx.execute(_MEMBERS, {"team_id": team_id})).all()
    ranges: Mapping[tuple[UUID, str], list[Row[tuple[object, ...]]]] = defaultdict(list)
    for row in rows:
        ranges[row.person_id, row.external_id].append(row)
    return tuple(
        ScopeMember(person_id, keys_of(person_id, external_id), _disjoint(found))
        for (person_id, external_id), found in ranges.items()
    )


def _disjoint(rows: Iterable[Row[tuple[object, ...]]]) -> tuple[DayRange, ...]:
    """Join ranges (sorted by start) that touch: a person in two teams of one subtree is counted once."""
    joined: list[DayRange] = []
    for row in rows:
        if joined and row.start_day <= joined[-1].end:
            joined[-1] = DayRange(joined[-1].start, max(joined[-1].end, row.end_day))
        else:
            joined.append(DayRange(row.start_day, row.end_day))
    return tuple(joined)


def _uuid(value: str) -> UUID | None:
    try:
        return UUID(value)
    except ValueError:
        return None
