"""Quotas over HTTP: everybody's share of the goals in force, and how far it has come."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from services.goals.api.allocations import QuotaExplained, no_share
from services.goals.api.context import InContext
from services.goals.api.numbers import ProgressFields, progress_fields
from services.goals.api.sight import sight_of
from services.goals.domain.goal import Goal
from services.goals.domain.numbers import text_of
from services.goals.domain.people import Person
from services.goals.store import goals, people, progress, quotas
from services.goals.store.quotas import QuotaRow
from services.goals.use_cases.context import Context
from shared.events.kpi import Unit
from shared.web.models import ExternalId, Page
from shared.web.pagination import Pagination, page_response, read_position
from shared.web.principal import CurrentPrincipal

router = APIRouter(tags=["quotas"])


class QuotasQuery(Pagination):
    """`person_id` is an id or external id."""

    goal_id: UUID | None = None
    person_id: ExternalId | None = None


class QuotaAnswer(QuotaExplained, ProgressFields):
    """One person's quota, what it is made of and how far it has come."""

    goal_id: UUID
    person_id: UUID
    external_id: str
    name: str | None
    team_id: UUID | None
    quota: str
    unit: Unit
    currency: str | None

    @classmethod
    def of(cls, row: QuotaRow, goal: Goal, person: Person, told: Mapping[str, Any]) -> "QuotaAnswer":
        reason = no_share(row.explanation["share"])
        reasons = {**told["reasons"], **({"share": reason} if reason else {})}
        return cls(
            goal_id=row.goal_id,
            person_id=row.person_id,
            external_id=person.external_id,
            name=person.name,
            team_id=row.team_id,
            quota=text_of(row.quota),
            unit=goal.kpi.unit,
            currency=goal.currency,
            **row.explanation,
            **{**told, "reasons": reasons},
        )


@router.get("/quotas", response_model=Page[QuotaAnswer])
async def read_page(
    request: Request,
    response: Response,
    query: Annotated[QuotasQuery, Query()],
    context: InContext,
    principal: CurrentPrincipal,
) -> Page[QuotaAnswer]:
    """List the quotas in force of people the caller may see, by goal and person."""
    position = read_position(request, query.cursor, query, tuple[UUID, UUID])
    async with context.database.transaction() as tx:
        sight = await sight_of(tx, principal, context)
        named = await people.named(tx, [query.person_id]) if query.person_id else {}
        found: Sequence[QuotaRow] = []
        if query.person_id is None or query.person_id in named:
            found = await quotas.page(
                tx,
                visible=sight.people,
                goal_id=query.goal_id,
                person_id=named.get(query.person_id or ""),
                after=position,
                limit=query.limit + 1,
            )
        answers = await answers_of(tx, context, found[: query.limit])
    following = [answers[-1].goal_id, answers[-1].person_id] if len(found) > query.limit else None
    return page_response(request, response, answers, following, query)


async def answers_of(tx: AsyncConnection, context: Context, rows: Sequence[QuotaRow]) -> list[QuotaAnswer]:
    """Return quotas with who has them and how far they have come."""
    known_goals = await goals.all_by_id(tx, [row.goal_id for row in rows])
    known_people = await people.all_by_id(tx, [row.person_id for row in rows])
    standings = await progress.of_quotas(tx, [(row.goal_id, row.person_id) for row in rows])
    return [
        QuotaAnswer.of(
            row,
            known_goals[row.goal_id],
            known_people[row.person_id],
            progress_fields(standings[row.goal_id, row.person_id], context.yardstick, context.clock),
        )
        for row in rows
    ]
