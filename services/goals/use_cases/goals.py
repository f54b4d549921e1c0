"""Goals are set, changed and given up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.goals.domain.goal import Goal
from services.goals.domain.kpis import Kpi
from services.goals.domain.people import next_version
from services.goals.domain.refusal import Missing
from services.goals.domain.standing import GOAL_HOLDER, Standing, Yardstick, standing_of
from services.goals.store import goals, progress, quotas
from services.goals.use_cases.targets import Settled
from shared.calendar import Period
from shared.db.outbox import announce
from shared.ids import new_id


@dataclass(frozen=True, slots=True)
class NewGoal:
    """A goal to be set, its target settled; `scope` is canonical."""

    title: str
    kpi: Kpi
    scope: str
    period: Period
    settled: Settled


@dataclass(frozen=True, slots=True)
class GoalEdit:
    """What is to change; None leaves as it is. `check` raises when the caller did not see the present version."""

    title: str | None
    settled: Settled | None
    check: Callable[[int], None]


async def set_goal(tx: AsyncConnection, new: NewGoal, yardstick: Yardstick, now: datetime) -> Goal:
    """Add a goal and announce what it depends on; a value that kpi has told before counts at once."""
    goal = Goal(
        id=new_id(),
        title=new.title,
        kpi=new.kpi,
        scope=new.scope,
        period=new.period,
        currency=new.settled.currency,
        target=new.settled.target,
        baseline=new.settled.baseline,
        allocation_version=0,
        version=next_version(0, now),
    )
    await goals.add(tx, goal, now)
    await announce(tx, [goal.changed([], now)])
    standing = standing_of(goal, goal.target, now)
    known = (await progress.lock_values(tx, [standing.watch_key])).get(standing.watch_key)
    await keep(tx, [standing], [standing.updated(yardstick, now, measured=known)])
    return goal


async def change_goal(tx: AsyncConnection, goal_id: UUID, edit: GoalEdit, yardstick: Yardstick, now: datetime) -> Goal:
    """Change title or target (quotas stay as they were shared out); raises Missing."""
    before = await locked(tx, goal_id)
    edit.check(before.version)
    after = replace(before, title=edit.title or before.title)
    if edit.settled is not None:
        after = replace(after, target=edit.settled.target, baseline=edit.settled.baseline)
    if after == before:
        return before
    after = replace(after, version=next_version(before.version, now))
    await goals.save(tx, after, now)
    people = await quotas.people_of(tx, [goal_id])
    await announce(tx, [after.changed(people.get(goal_id, []), now)])
    own = [row for row in await progress.lock_of_goal(tx, goal_id) if row.holder == GOAL_HOLDER]
    await keep(tx, own, [row.updated(yardstick, now, target=after.target) for row in own])
    return after


async def delete_goal(tx: AsyncConnection, goal_id: UUID, check: Callable[[int], None], now: datetime) -> None:
    """Give a goal up with its quotas: nothing of it is watched any more; raises Missing."""
    before = await locked(tx, goal_id)
    check(before.version)
    after = replace(before, version=next_version(before.version, now))
    await goals.save(tx, after, now, deleted=True)
    await announce(tx, [after.changed([], now, deleted=True)])
    rows = [row for row in await progress.lock_of_goal(tx, goal_id) if not row.deleted]
    await keep(tx, rows, [row.withdrawn(now) for row in rows])


async def locked(tx: AsyncConnection, goal_id: UUID) -> Goal:
    """Return the goal, locked; raises Missing."""
    found = await goals.get(tx, goal_id, lock=True)
    if found is None:
        raise Missing("goal")
    return found


async def keep(tx: AsyncConnection, before: Sequence[Standing], after: Sequence[Standing]) -> None:
    """Write standings and announce those that are news; the two sequences go together."""
    await progress.save(tx, after)
    await announce(tx, [new.announced() for old, new in zip(before, after, strict=True) if new.version != old.version])
