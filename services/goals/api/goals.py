"""Goals over HTTP."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from services.goals.api.context import InContext
from services.goals.api.goal_models import (
    GoalAnswer,
    GoalChangesBody,
    GoalsQuery,
    NewGoalBody,
    RelativeTargetBody,
    TargetBody,
)
from services.goals.api.numbers import progress_fields
from services.goals.api.sight import seen_goal, sight_of
from services.goals.domain.goal import Goal, goal_period
from services.goals.domain.kpis import KPIS
from services.goals.domain.refusal import Fault, Invalid
from services.goals.store import goals, progress, quotas
from services.goals.use_cases.context import Context
from services.goals.use_cases.goals import GoalEdit, NewGoal, change_goal, delete_goal, set_goal
from services.goals.use_cases.targets import Relative, Wish, faults_of, settle
from shared.auth.directory import can_see_scope, resolve_scope
from shared.auth.principal import Principal
from shared.language import Text
from shared.web.conditions import IfMatch, etag, require_match
from shared.web.idempotency import Idempotent, Reply, find_replies, replayed
from shared.web.models import Page
from shared.web.pagination import page_response, read_position
from shared.web.principal import CurrentPrincipal, ManagerOrAdmin
from shared.web.problems import forbidden

router = APIRouter(tags=["goals"])

_UNKNOWN_KPI: Text = {"zh": "没有这个指标", "en": "there is no such KPI"}
_UNKNOWN_SCOPE: Text = {
    "zh": "应为 org、team:ID 或 person:ID，且已存在",
    "en": "must be org, team:ID or person:ID of one that exists",
}
_NO_PERIOD_START: Text = {
    "zh": "不是该粒度期间的第一天",
    "en": "is not the first day of a period of that grain",
}


@router.post("/goals", status_code=201, response_model=GoalAnswer)
async def create(body: NewGoalBody, context: InContext, principal: ManagerOrAdmin, once: Idempotent) -> Response:
    """Set a goal; a relative target is settled with kpi now and frozen."""
    async with context.database.transaction() as tx:
        stored = await find_replies(tx, [once.key] if once.key else [])
        wish = await _wish(tx, body, principal)
    if once.key in stored:
        return replayed(once.key, stored[once.key])
    settled = await settle(context, wish)

    async def add(tx: AsyncConnection) -> Reply:
        new = NewGoal(body.title, wish.kpi, wish.scope, wish.period, settled)
        goal = await set_goal(tx, new, context.yardstick, context.clock())
        [answer] = await _answers(tx, context, [goal])
        return Reply(201, answer, {"location": f"/goals/v1/goals/{goal.id}", "etag": etag(goal.version)})

    return await once.run(context.database, add)


@router.get("/goals", response_model=Page[GoalAnswer])
async def read_page(
    request: Request,
    response: Response,
    query: Annotated[GoalsQuery, Query()],
    context: InContext,
    principal: CurrentPrincipal,
) -> Page[GoalAnswer]:
    """List goals the caller may see, by id."""
    position = read_position(request, query.cursor, query, tuple[UUID])
    async with context.database.transaction() as tx:
        sight = await sight_of(tx, principal, context)
        scope = await resolve_scope(tx, query.scope) if query.scope else None
        found: Sequence[Goal] = []
        if scope or not query.scope:
            found = await goals.page(
                tx,
                scopes=sight.scopes,
                kpi=query.kpi,
                scope=scope.scope if scope else None,
                on=query.on,
                after=position[0] if position else None,
                limit=query.limit + 1,
            )
        answers = await _answers(tx, context, found[: query.limit])
    following = [answers[-1].id] if len(found) > query.limit else None
    return page_response(request, response, answers, following, query)


@router.get("/goals/{goal_id}", response_model=GoalAnswer)
async def read(response: Response, goal_id: UUID, context: InContext, principal: CurrentPrincipal) -> GoalAnswer:
    """Read one goal with its progress as it is now; the ETag is that of what was set, progress has none."""
    async with context.database.transaction() as tx:
        goal = await seen_goal(tx, await sight_of(tx, principal, context), goal_id)
        [answer] = await _answers(tx, context, [goal])
    response.headers["etag"] = etag(goal.version)
    return answer


@router.patch("/goals/{goal_id}", response_model=GoalAnswer)
async def change(
    response: Response,
    goal_id: UUID,
    body: GoalChangesBody,
    context: InContext,
    principal: ManagerOrAdmin,
    if_match: IfMatch = None,
) -> GoalAnswer:
    """Change title or target. Quotas stay as they were shared out until the goal is allocated again."""
    async with context.database.transaction() as tx:
        before = await seen_goal(tx, await sight_of(tx, principal, context), goal_id)
        require_match(if_match, before.version)
    settled = None
    if body.target is not None:
        target = _target(body.target)
        faults = faults_of(before.kpi, before.currency, target)
        if faults:
            raise Invalid(faults)
        settled = await settle(context, Wish(before.kpi, before.scope, before.period, before.currency, target))
    edit = GoalEdit(body.title, settled, lambda version: require_match(if_match, version))
    async with context.database.transaction() as tx:
        goal = await change_goal(tx, goal_id, edit, context.yardstick, context.clock())
        [answer] = await _answers(tx, context, [goal])
    response.headers["etag"] = etag(goal.version)
    return answer


@router.delete("/goals/{goal_id}", status_code=204)
async def delete(goal_id: UUID, context: InContext, principal: ManagerOrAdmin, if_match: IfMatch = None) -> None:
    """Give a goal up, with its quotas."""
    async with context.database.transaction() as tx:
        await seen_goal(tx, await sight_of(tx, principal, context), goal_id)
        await delete_goal(tx, goal_id, lambda version: require_match(if_match, version), context.clock())


async def _wish(tx: AsyncConnection, body: NewGoalBody, principal: Principal) -> Wish:
    """Return what is asked for with its scope in canonical form; raises Invalid with all faults, and 403."""
    kpi = KPIS.get(body.kpi)
    period = goal_period(body.period.grain, body.period.start)
    scope = await resolve_scope(tx, body.scope)
    target = _target(body.target)
    faults = [] if kpi else [Fault("/kpi", "unknown_kpi", _UNKNOWN_KPI)]
    if scope is None or (scope.scope.startswith("person:") and scope.members[0].person_id is None):
        faults.append(Fault("/scope", "unknown_scope", _UNKNOWN_SCOPE))
    if period is None:
        faults.append(Fault("/period/start", "not_a_period_start", _NO_PERIOD_START))
    if kpi:
        faults += faults_of(kpi, body.currency, target)
    if faults or kpi is None or scope is None or period is None:
        raise Invalid(faults)
    if not await can_see_scope(tx, principal, scope.scope):
        raise forbidden()
    return Wish(kpi, scope.scope, period, body.currency, target)


def _target(body: TargetBody) -> str | Relative:
    return body.to_relative() if isinstance(body, RelativeTargetBody) else body


async def _answers(tx: AsyncConnection, context: Context, found: Sequence[Goal]) -> list[GoalAnswer]:
    ids = [goal.id for goal in found]
    standings = await progress.of_goals(tx, ids)
    allocated = await quotas.sums(tx, ids)
    return [
        GoalAnswer.of(
            goal,
            allocated.get(goal.id),
            progress_fields(standings[goal.id], context.yardstick, context.clock),
        )
        for goal in found
    ]
