"""Teams are added, singly or in lists, and changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.goals.domain.people import Team, next_version, would_loop
from services.goals.domain.refusal import AlreadyExists, Fault, Invalid, Missing, Refusal
from services.goals.store import history, people, teams
from services.goals.store.directory_lock import lock_directory
from services.goals.use_cases.announcements import announce_directory
from services.goals.use_cases.edit import Edit
from shared.ids import new_id

UNKNOWN_PARENT = Fault("/parent_id", "unknown_team", {"zh": "没有这个上级团队", "en": "there is no such parent team"})
LOOP = Fault("/parent_id", "team_loop", {"zh": "团队不能位于自己之下", "en": "a team cannot be below itself"})


@dataclass(frozen=True, slots=True)
class NewTeam:
    """A team to be added; `parent` and `manager` are ids or external ids, the manager may be unknown yet."""

    external_id: str
    name: str
    parent: str | None = None
    manager: str | None = None


async def add_teams(tx: AsyncConnection, new: Sequence[NewTeam], by: str, now: datetime) -> list[Team | Refusal]:
    """Add what can be added and return, in order, each team or why not; a parent may stand anywhere in the list."""
    await lock_directory(tx)
    known = await teams.named(tx, [name for each in new for name in (each.external_id, each.parent) if name])
    managers = await people.named(tx, [each.manager for each in new if each.manager])
    results: dict[int, Team | Refusal] = {}
    settled = -1
    while settled < len(results):
        settled = len(results)
        for n, each in enumerate(new):
            made = None if n in results else _make(each, known, managers, now)
            if made:
                results[n] = made
    added = [each for each in results.values() if isinstance(each, Team)]
    await teams.add(tx, added, now)
    await _tell(tx, added, by, now, None)
    return [results.get(n) or Invalid([UNKNOWN_PARENT]) for n in range(len(new))]


async def change_team(tx: AsyncConnection, team_id: UUID, changes: Mapping[str, Any], edit: Edit) -> Team:
    """Change `name`, `parent` or `manager` of a team.

    Raises Missing and Invalid. What changes nothing raises no version.
    """
    await lock_directory(tx)
    before = await teams.lock(tx, team_id)
    if before is None:
        raise Missing("team")
    edit.check(before.version)
    after = replace(before, name=changes.get("name", before.name))
    if "parent" in changes:
        after = replace(after, parent_id=await _parent(tx, team_id, changes["parent"]))
    if "manager" in changes:
        manager = changes["manager"]
        known = await people.named(tx, [manager]) if manager else {}
        after = replace(after, manager_ref=manager, manager_id=known.get(manager or ""))
    if after == before:
        return before
    after = replace(after, version=next_version(before.version, edit.now))
    await teams.save(tx, after, edit.now)
    await _tell(tx, [after], edit.by, edit.now, edit.on)
    return after


async def settle_managers(tx: AsyncConnection, found: Mapping[str, UUID], by: str, now: datetime) -> None:
    """Give the teams that wait for a manager named in `found` their person."""
    settled = [
        replace(each, manager_id=found[each.manager_ref or ""], version=next_version(each.version, now))
        for each in await teams.lock_awaiting(tx, list(found))
    ]
    for each in settled:
        await teams.save(tx, each, now)
    await _tell(tx, settled, by, now, None)


def _make(
    new: NewTeam, known: dict[str, UUID], managers: Mapping[str, UUID], now: datetime
) -> Team | AlreadyExists | None:
    """Return the new team, or None while its parent is not known."""
    if new.external_id in known:
        return AlreadyExists("team", new.external_id, known[new.external_id])
    if new.parent and new.parent not in known:
        return None
    made = Team(
        id=new_id(),
        external_id=new.external_id,
        name=new.name,
        parent_id=known[new.parent] if new.parent else None,
        manager_id=managers.get(new.manager or ""),
        manager_ref=new.manager,
        version=next_version(0, now),
    )
    known[new.external_id] = made.id
    return made


async def _parent(tx: AsyncConnection, team_id: UUID, name: str | None) -> UUID | None:
    if name is None:
        return None
    parent_id = (await teams.named(tx, [name])).get(name)
    if parent_id is None:
        raise Invalid([UNKNOWN_PARENT])
    if would_loop(team_id, parent_id, await teams.parents(tx)):
        raise Invalid([LOOP])
    return parent_id


async def _tell(tx: AsyncConnection, changed: Sequence[Team], by: str, now: datetime, on: date | None) -> None:
    entries = [
        history.Entry(
            kind="team",
            subject_id=each.id,
            version=each.version,
            effective_on=on,
            recorded_at=now,
            recorded_by=by,
            state={"parent_id": _text(each.parent_id), "manager_id": _text(each.manager_id)},
        )
        for each in changed
    ]
    await history.append(tx, entries)
    await announce_directory(tx, [each.changed(now) for each in changed])


def _text(id_: UUID | None) -> str | None:
    return str(id_) if id_ else None
