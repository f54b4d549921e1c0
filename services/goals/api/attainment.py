"""Attainment over HTTP: results against quotas, by person or summed up the teams to their managers."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy.ext.asyncio import AsyncConnection

from services.goals.api.context import InContext
from services.goals.api.numbers import optional_text
from services.goals.api.quotas import QuotaAnswer, answers_of
from services.goals.api.sight import seen_goal, sight_of
from services.goals.domain.numbers import text_of
from services.goals.domain.people import Person, Team
from services.goals.domain.refusal import Missing
from services.goals.domain.rollup import Attained, TeamAttainment, by_team
from services.goals.store import goals, people, quotas, teams
from shared.events.kpi import Unit
from shared.web import models
from shared.web.principal import CurrentPrincipal

router = APIRouter(tags=["attainment"])


class AttainmentQuery(models.Query):
    """`by` is what is told: people, or teams with everybody below them."""

    by: Literal["team", "person"] = "team"


class TeamAttainmentAnswer(models.Answer):
    """The sums of a team and below; `unmeasured` people of it have no result yet and count nothing."""

    team_id: UUID | None
    external_id: str | None
    name: str | None
    parent_id: UUID | None
    manager_id: UUID | None
    manager_external_id: str | None
    manager_name: str | None
    people: int
    unmeasured: int
    quota: str
    result: str | None
    attainment: str | None
    reason: str | None

    @classmethod
    def of(cls, sums: TeamAttainment, team: Team | None, manager: Person | None) -> "TeamAttainmentAnswer":
        attainment = sums.attainment
        reason = "not_measured_yet" if sums.result is None else "target_is_zero" if attainment is None else None
        return cls(
            team_id=sums.team_id,
            external_id=team.external_id if team else None,
            name=team.name if team else None,
            parent_id=team.parent_id if team else None,
            manager_id=team.manager_id if team else None,
            manager_external_id=manager.external_id if manager else None,
            manager_name=manager.name if manager else None,
            people=sums.people,
            unmeasured=sums.unmeasured,
            quota=text_of(sums.quota),
            result=optional_text(sums.result),
            attainment=optional_text(attainment),
            reason=reason,
        )


class AttainmentAnswer(models.Answer):
    """Everybody, or every team, that the caller may see, on one page."""

    goal_id: UUID
    by: Literal["team", "person"]
    unit: Unit
    currency: str | None
    items: list[QuotaAnswer] | list[TeamAttainmentAnswer]
    next_cursor: str | None = None


@router.get("/goals/{goal_id}/attainment", response_model=AttainmentAnswer)
async def read_attainment(
    goal_id: UUID, query: Annotated[AttainmentQuery, Query()], context: InContext, principal: CurrentPrincipal
) -> AttainmentAnswer:
    """Tell how far the quotas of a goal have come, by person or by team (the highest quota first)."""
    async with context.database.transaction() as tx:
        sight = await sight_of(tx, principal, context)
        found = await answers_of(tx, context, await quotas.page(tx, visible=sight.people, goal_id=goal_id))
        # Who may see a share of a goal may know what it is a share of.
        goal = await goals.get(tx, goal_id) if found else await seen_goal(tx, sight, goal_id)
        if goal is None:
            raise Missing("goal")
        items: list[QuotaAnswer] | list[TeamAttainmentAnswer]
        if query.by == "person":
            items = sorted(found, key=_largest_quota)
        else:
            kind, _, name = goal.scope.partition(":")
            sums = by_team(map(_attained, found), await teams.parents(tx), UUID(name) if kind == "team" else None)
            seen = [each for each in sums if sight.teams is None or each.team_id in sight.teams]
            items = sorted(await _told(tx, seen), key=_largest_quota)
    return AttainmentAnswer(goal_id=goal.id, by=query.by, unit=goal.kpi.unit, currency=goal.currency, items=items)


def _largest_quota(item: QuotaAnswer | TeamAttainmentAnswer) -> Decimal:
    return -Decimal(item.quota)


def _attained(quota: QuotaAnswer) -> Attained:
    return Attained(quota.team_id, Decimal(quota.quota), None if quota.result is None else Decimal(quota.result))


async def _told(tx: AsyncConnection, sums: Sequence[TeamAttainment]) -> list[TeamAttainmentAnswer]:
    known: Mapping[UUID, Team] = await teams.all_by_id(tx, [each.team_id for each in sums if each.team_id])
    managers = await people.all_by_id(tx, [team.manager_id for team in known.values() if team.manager_id])
    answers = []
    for each in sums:
        team = known.get(each.team_id) if each.team_id else None
        manager = managers.get(team.manager_id) if team and team.manager_id else None
        answers.append(TeamAttainmentAnswer.of(each, team, manager))
    return answers
