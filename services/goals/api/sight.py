"""Which goals a caller may see: those whose scope they may see."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.goals.domain.goal import Goal
from services.goals.domain.refusal import Missing
from services.goals.store import goals
from services.goals.use_cases.context import Context
from shared.auth.directory import Visibility, visible
from shared.auth.principal import Principal


@dataclass(frozen=True, slots=True)
class Sight:
    """Scopes of goals, keys of people and ids of teams that may be seen; None means all."""

    scopes: tuple[str, ...] | None
    people: tuple[str, ...] | None
    teams: tuple[UUID, ...] | None


async def sight_of(tx: AsyncConnection, principal: Principal, context: Context) -> Sight:
    """Return what `principal` may see today."""
    found: Visibility = await visible(tx, principal, on=context.yardstick.today(context.clock()))
    if found.everything:
        return Sight(None, None, None)
    scopes = (*(f"person:{key}" for key in found.owner_keys), *(f"team:{team_id}" for team_id in found.team_ids))
    return Sight(scopes, found.owner_keys, found.team_ids)


async def seen_goal(tx: AsyncConnection, sight: Sight, goal_id: UUID, *, lock: bool = False) -> Goal:
    """Return a goal that may be seen, locked when asked; raises Missing."""
    goal = await goals.get(tx, goal_id, lock=lock)
    if goal is None or not (sight.scopes is None or goal.scope in sight.scopes):
        raise Missing("goal")
    return goal
