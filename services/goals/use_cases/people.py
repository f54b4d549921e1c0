"""People are added, singly or in lists, changed, and move between teams on a day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.goals.domain.membership import Memberships, joined, transferred
from services.goals.domain.people import Person, next_version
from services.goals.domain.refusal import AlreadyExists, Fault, Invalid, Missing, Refusal
from services.goals.store import history, people, teams
from services.goals.store.directory_lock import lock_directory
from services.goals.use_cases.announcements import announce_directory
from services.goals.use_cases.edit import Edit
from services.goals.use_cases.teams import settle_managers
from shared.events.goals import Role
from shared.ids import new_id

UNKNOWN_TEAM = Fault("/team_id", "unknown_team", {"zh": "没有这个团队", "en": "there is no such team"})
_PLAIN = ("name", "role", "ability_bp", "experience_months", "availability_bp", "active")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPerson:
    """A person to be added; `team` is an id or external id, since ever or since `joined_on`."""

    external_id: str
    name: str
    role: Role
    team: str | None
    joined_on: date | None
    ability_bp: int
    experience_months: int
    availability_bp: int


async def add_people(tx: AsyncConnection, new: Sequence[NewPerson], by: str, now: datetime) -> list[Person | Refusal]:
    """Add who can be added and return, in order, each person or why not; teams that waited for one get them."""
    await lock_directory(tx)
    known = await people.named(tx, [each.external_id for each in new])
    in_teams = await teams.named(tx, [each.team for each in new if each.team])
    results = [_make(each, known, in_teams, now) for each in new]
    added = [each for each in results if isinstance(each, Person)]
    await people.add(tx, added, now)
    await _tell(tx, added, by, now, None)
    await settle_managers(tx, {each.external_id: each.id for each in added}, by, now)
    return results


async def change_person(tx: AsyncConnection, person_id: UUID, changes: Mapping[str, Any], edit: Edit) -> Person:
    """Change a person; `team` moves them from `edit.on`, `active` False ends their membership then.

    Raises Missing and Invalid. What changes nothing raises no version.
    """
    await lock_directory(tx)
    before = await people.lock(tx, person_id)
    if before is None:
        raise Missing("person")
    edit.check(before.version)
    after = replace(before, **{name: changes[name] for name in _PLAIN if name in changes})
    if "team" in changes or (before.active and not after.active):
        team_id = await _team(tx, changes.get("team")) if after.active else None
        after = replace(after, memberships=_moved(before, team_id, edit))
    if after == before:
        return before
    after = replace(after, version=next_version(before.version, edit.now))
    await people.save(tx, after, edit.now)
    await _tell(tx, [after], edit.by, edit.now, edit.on)
    return after


def _moved(before: Person, team_id: UUID | None, edit: Edit) -> Memberships:
    """Return the memberships after the move; a first team without a day is the person's since ever."""
    if not before.memberships:
        return joined(team_id, edit.asked_on)
    return transferred(before.memberships, team_id, edit.on)


def _make(new: NewPerson, known: dict[str, UUID], in_teams: Mapping[str, UUID], now: datetime) -> Person | Refusal:
    if new.external_id in known:
        return AlreadyExists("person", new.external_id, known[new.external_id])
    if new.team and new.team not in in_teams:
        return Invalid([UNKNOWN_TEAM])
    made = Person(
        id=new_id(),
        external_id=new.external_id,
        name=new.name,
        role=new.role,
        memberships=joined(in_teams[new.team] if new.team else None, new.joined_on),
        ability_bp=new.ability_bp,
        experience_months=new.experience_months,
        availability_bp=new.availability_bp,
        active=True,
        version=next_version(0, now),
    )
    known[new.external_id] = made.id
    return made


async def _team(tx: AsyncConnection, name: str | None) -> UUID | None:
    if name is None:
        return None
    team_id = (await teams.named(tx, [name])).get(name)
    if team_id is None:
        raise Invalid([UNKNOWN_TEAM])
    return team_id


async def _tell(tx: AsyncConnection, changed: Sequence[Person], by: str, now: datetime, on: date | None) -> None:
    entries = [
        history.Entry(
            kind="person",
            subject_id=each.id,
            version=each.version,
            effective_on=on,
            recorded_at=now,
            recorded_by=by,
            state={
                "role": each.role,
                "memberships": msgspec.to_builtins(each.memberships),
                "ability_bp": each.ability_bp,
                "experience_months": each.experience_months,
                "availability_bp": each.availability_bp,
                "active": each.active,
            },
        )
        for each in changed
    ]
    await history.append(tx, entries)
    await announce_directory(tx, [each.changed(now) for each in changed])
