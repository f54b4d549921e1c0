from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.auth.directory import (
    DayRange,
    apply_people,
    can_see_scope,
    owner_key,
    owner_keys,
    resolve_scope,
    visible,
)
from shared.auth.principal import Principal
from shared.clock import utc_now
from shared.db.engine import Database
from shared.db.platform import new_metadata
from shared.events.base import Event
from shared.events.goals import Membership, PersonChanged, TeamChanged

NOW = utc_now()
TODAY = NOW.date()


@dataclass
class Told:
    event: Event


@pytest.fixture
async def tx(empty_database: Callable[[], str]) -> AsyncIterator[AsyncConnection]:
    database = Database(empty_database(), "toy")
    async with database.transaction() as tx:
        await tx.run_sync(new_metadata().create_all)
        yield tx
    await database.close()


def person(name: str, *memberships: Membership, version: int = 1, **changed: Any) -> PersonChanged:
    person_id = changed.pop("person_id", None) or uuid4()
    told = {"role": "rep", "external_id": name, **changed}
    return PersonChanged(version=version, recorded_at=NOW, person_id=person_id, memberships=tuple(memberships), **told)


def team(name: str, version: int = 1, **changed: Any) -> TeamChanged:
    team_id = changed.pop("team_id", None) or uuid4()
    return TeamChanged(version=version, recorded_at=NOW, team_id=team_id, external_id=name, **changed)


def member(of: TeamChanged, start: date | None = None, end: date | None = None) -> Membership:
    return Membership(of.team_id, start, end)


async def apply(tx: AsyncConnection, *events: Event) -> None:
    await apply_people(tx, [Told(event) for event in events])


def both(*people: PersonChanged) -> set[str]:
    return {key for one in people for key in (str(one.person_id), f"external:{one.external_id}")}


def asking(role: Any, who: PersonChanged | str | None = None) -> Principal:
    name = str(who.person_id) if isinstance(who, PersonChanged) else who
    return Principal(f"{role}:{name}", role, name)


async def test_a_rep_sees_own_rows_under_both_keys(tx: AsyncConnection) -> None:
    sales = team("sales")
    ann, ben = person("A-1", member(sales)), person("B-1", member(sales))
    await apply(tx, sales, ann, ben)
    for name in (ann, "A-1", f"external:{ann.external_id}"):
        seen = await visible(tx, asking("rep", name))
        assert not seen.everything
        assert set(seen.owner_keys) == both(ann)
        assert seen.team_ids == ()


async def test_an_unknown_person_sees_what_carries_the_name(tx: AsyncConnection) -> None:
    assert (await visible(tx, asking("rep", "new"))).owner_keys == ("external:new",)
    unknown = str(uuid4())
    assert set((await visible(tx, asking("manager", unknown))).owner_keys) == {unknown, f"external:{unknown}"}
    assert (await visible(tx, asking("rep"))).owner_keys == ()
    assert (await visible(tx, asking("admin"))).everything


async def test_a_manager_sees_the_whole_subtree_and_no_sibling(tx: AsyncConnection) -> None:
    mary = person("M-1", role="manager")
    east = team("east", manager_id=mary.person_id)
    shanghai = team("shanghai", parent_id=east.team_id)
    pudong = team("pudong", parent_id=shanghai.team_id)
    west = team("west")
    gone = team("gone", parent_id=east.team_id, deleted=True)
    ann, ben = person("A-1", member(shanghai)), person("B-1", member(pudong))
    carl, dan = person("C-1", member(west)), person("D-1", member(gone))
    await apply(tx, pudong, shanghai, east, west, gone, mary, ann, ben, carl, dan)

    seen = await visible(tx, asking("manager", "M-1"))

    assert set(seen.owner_keys) == both(mary, ann, ben)
    assert set(seen.team_ids) == {east.team_id, shanghai.team_id, pudong.team_id}
    assert set((await visible(tx, asking("rep", "M-1"))).owner_keys) == both(mary)


async def test_membership_counts_by_date(tx: AsyncConnection) -> None:
    mary = person("M-1")
    east, west = team("east", manager_id=mary.person_id), team("west")
    moved = date(2026, 7, 1)
    ann = person("A-1", member(east, None, moved), member(west, moved, None))
    await apply(tx, mary, east, west, ann)

    async def sees(day: date) -> bool:
        seen = await visible(tx, asking("manager", mary), on=day)
        return str(ann.person_id) in seen.owner_keys

    assert await sees(moved - timedelta(days=1))
    assert not await sees(moved)
    resolved = await resolve_scope(tx, f"team:{west.team_id}")
    assert resolved is not None
    assert resolved.members[0].ranges == (DayRange(moved, date.max),)


async def test_teams_that_name_each_other_end(tx: AsyncConnection) -> None:
    mary = person("M-1")
    one_id, two_id = uuid4(), uuid4()
    one = team("one", team_id=one_id, parent_id=two_id, manager_id=mary.person_id)
    two = team("two", team_id=two_id, parent_id=one_id)
    ann = person("A-1", member(two))
    await apply(tx, mary, one, two, ann)
    assert set((await visible(tx, asking("manager", mary))).team_ids) == {one_id, two_id}
    resolved = await resolve_scope(tx, "team:two")
    assert resolved is not None
    assert len(resolved.members) == 1


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1), (3, 3, 2)])
@pytest.mark.parametrize("batched", [True, False])
async def test_the_newest_version_wins_in_any_order(
    tx: AsyncConnection, order: Sequence[int], *, batched: bool
) -> None:
    who, sales = uuid4(), team("sales")
    events = [
        person(f"name-{version}", *[member(sales)] * (version - 1), person_id=who, version=version) for version in order
    ]
    teams = [team(f"team-{version}", version, team_id=sales.team_id) for version in order]
    if batched:
        await apply(tx, *events, *teams)
    else:
        for event in [*events, *teams]:
            await apply(tx, event)
    row = (await tx.execute(text("SELECT external_id, version FROM directory_person"))).one()
    assert (row.external_id, row.version) == ("name-3", 3)
    assert (await tx.execute(text("SELECT count(*) FROM directory_membership"))).scalar_one() == 2
    assert (await tx.execute(text("SELECT external_id FROM directory_team"))).scalar_one() == "team-3"


async def test_a_tombstone_keeps_its_version_and_nothing_resurrects(tx: AsyncConnection) -> None:
    ann = person("A-1", version=1)
    await apply(tx, ann)
    await apply(tx, person("A-1", person_id=ann.person_id, version=5, deleted=True))
    await apply(tx, person("A-1", person_id=ann.person_id, version=4))
    assert await owner_key(tx, external_id="A-1") == "external:A-1"
    row = (await tx.execute(text("SELECT version, deleted FROM directory_person"))).one()
    assert (row.version, row.deleted) == (5, True)
    successor = person("A-1", version=1)
    await apply(tx, successor)
    assert await owner_key(tx, external_id="A-1") == str(successor.person_id)


async def test_owner_keys_name_known_and_unknown_people(tx: AsyncConnection) -> None:
    ann = person("A-1")
    await apply(tx, ann)
    unknown = uuid4()
    assert await owner_key(tx, person_id=unknown) == str(unknown)
    assert await owner_key(tx, external_id="A-1") == str(ann.person_id)
    assert await owner_key(tx, external_id="nobody") == "external:nobody"
    for name in ("A-1", str(ann.person_id), "external:A-1"):
        assert set(await owner_keys(tx, name)) == both(ann)
    assert await owner_keys(tx, "nobody") == ("external:nobody",)
    with pytest.raises(ValueError, match="person_id or external_id"):
        await owner_key(tx)


async def test_an_external_id_that_looks_like_an_id(tx: AsyncConnection) -> None:
    looks = str(uuid4())
    ann = person(looks)
    await apply(tx, ann)
    assert set(await owner_keys(tx, looks)) == {str(ann.person_id), f"external:{looks}"}
    other = person("O-1", person_id=UUID(looks))
    await apply(tx, other)
    assert set(await owner_keys(tx, looks)) == both(other)


async def test_scopes_resolve_to_their_canonical_text(tx: AsyncConnection) -> None:
    sales = team("sales")
    ann = person("A-1", member(sales))
    await apply(tx, sales, ann)

    async def canonical(scope: str) -> str | None:
        resolved = await resolve_scope(tx, scope)
        return resolved.scope if resolved else None

    assert await canonical("org") == "org"
    assert await canonical("person:A-1") == await canonical(f"person:{ann.person_id}") == f"person:{ann.person_id}"
    assert await canonical("team:sales") == f"team:{sales.team_id}"
    assert await canonical("person:new") == await canonical("person:external:new") == "person:new"
    for nothing in ("team:none", f"team:{uuid4()}", "team:", "person:", "", "orgs", "shop:1"):
        assert await canonical(nothing) is None


async def test_a_person_in_two_teams_of_a_subtree_is_counted_once(tx: AsyncConnection) -> None:
    east = team("east")
    north = team("north", parent_id=east.team_id)
    day = [date(2026, month, 1) for month in range(1, 9)]
    ann = person("A-1", member(east, day[0], day[3]), member(north, day[2], day[4]), member(north, day[6], day[7]))
    await apply(tx, east, north, ann)
    resolved = await resolve_scope(tx, "team:east")
    assert resolved is not None
    assert [one.ranges for one in resolved.members] == [(DayRange(day[0], day[4]), DayRange(day[6], day[7]))]
    assert set(resolved.members[0].owner_keys) == both(ann)


async def test_who_can_see_which_scope(tx: AsyncConnection) -> None:
    mary = person("M-1")
    east, west = team("east", manager_id=mary.person_id), team("west")
    ann, carl = person("A-1", member(east)), person("C-1", member(west))
    await apply(tx, mary, east, west, ann, carl)
    admin, manager, rep = asking("admin"), asking("manager", mary), asking("rep", "A-1")
    expected = {
        "org": (True, False, False),
        "team:east": (True, True, False),
        "team:west": (True, False, False),
        "person:A-1": (True, True, True),
        "person:C-1": (True, False, False),
        "person:M-1": (True, True, False),
        "person:nobody": (True, False, False),
        "team:none": (False, False, False),
    }
    for scope, answers in expected.items():
        seen = [await can_see_scope(tx, who, scope) for who in (admin, manager, rep)]
        assert tuple(seen) == answers, scope
