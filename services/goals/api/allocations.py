"""Allocations over HTTP: a goal shared out to people, previewed or put in force."""

from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import ConfigDict, Field, JsonValue, StringConstraints, model_validator
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from services.goals.api.context import InContext
from services.goals.api.sight import seen_goal, sight_of
from services.goals.domain.allocation import Bound
from services.goals.domain.numbers import text_of
from services.goals.domain.plan import Bounds, Quota
from services.goals.domain.rollup import child_of
from services.goals.store import teams
from services.goals.use_cases.allocations import METHOD, Order, Plan, put_in_force, share_out
from shared.events.kpi import Unit
from shared.web.conditions import etag
from shared.web.idempotency import Idempotent, Reply
from shared.web.models import Answer, Body, ExternalId, StrictBool, refused
from shared.web.principal import ManagerOrAdmin

router = APIRouter(tags=["allocations"])

Multiple = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,4}(\.[0-9]{1,4})?$")]
_EXAMPLE: dict[str, JsonValue] = {
    "to": "people",
    "method": METHOD,
    "bounds": {"min": "0.60", "max": "1.60"},
    "preview": True,
}


class BoundsBody(Body):
    """Least and most of anybody's quota, as multiples of the even share by availability."""

    min: Multiple = "0.60"
    max: Multiple = "1.60"

    @model_validator(mode="after")
    def _in_order(self) -> "BoundsBody":
        if Decimal(self.min) > Decimal(self.max):
            raise refused("bounds_crossed", {"zh": "min 不能大于 max", "en": "min must not be above max"})
        return self


class AllocationBody(Body):
    """How to share a goal out. `to: teams` tells the same plan by child team; `people` names who takes part."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    to: Literal["people", "teams"] = "people"
    method: Literal["ability_and_experience"] = "ability_and_experience"
    bounds: BoundsBody = BoundsBody()
    people: Annotated[list[ExternalId], Field(min_length=1, max_length=5000)] | None = None
    preview: StrictBool = False

    def to_order(self) -> Order:
        return Order(self.to, Bounds(Decimal(self.bounds.min), Decimal(self.bounds.max)), self.people)


class AbilityAnswer(Answer):
    """0..100 counts 0.5 to 1.5."""

    value: int
    factor: str


class ExperienceAnswer(Answer):
    """The ramp of a new seller: 0.4, 0.6, 0.8 and from 12 months 1, rising towards 1.2."""

    months: int
    factor: str


class AvailabilityAnswer(Answer):
    """Share of full time, times the part of the period's working days in the scope."""

    value: str
    presence: str
    factor: str


class BoundsAnswer(Answer):
    """The quota's own bounds, and which of them holds it."""

    lo: str
    hi: str
    at_bound: Bound | None


class QuotaExplained(Answer):
    """What a quota is made of: the three factors multiply to the weight; `share` is of the whole target."""

    share: str | None
    weight: str
    ability: AbilityAnswer
    experience: ExperienceAnswer
    availability: AvailabilityAnswer
    bounds: BoundsAnswer


class PersonShare(QuotaExplained):
    """One person's quota; a null `share` has a `reason`."""

    person_id: UUID
    external_id: str
    name: str | None
    team_id: UUID | None
    quota: str
    reason: str | None

    @classmethod
    def of(cls, quota: Quota) -> "PersonShare":
        who = quota.participant
        return cls(
            person_id=who.person_id,
            external_id=who.external_id,
            name=who.name,
            team_id=who.team_id,
            quota=text_of(quota.quota),
            reason=no_share(quota.share),
            **quota.explanation(),
        )


def no_share(share: object) -> str | None:
    """Return why there is no share: nothing is a part of a target of zero."""
    return "target_is_zero" if share is None else None


class TeamShare(Answer):
    """One child team's quota: the sum of its people's."""

    team_id: UUID | None
    external_id: str | None
    name: str | None
    quota: str
    people: list[PersonShare]


class AllocationAnswer(Answer):
    """A plan: `items` are people, or teams with their people; the quotas sum to the target exactly."""

    goal_id: UUID
    version: int
    preview: bool
    to: str
    method: str
    bounds: dict[str, str]
    target_value: str
    unit: Unit
    currency: str | None
    items: list[PersonShare] | list[TeamShare]
    sum: str


@router.post(
    "/goals/{goal_id}/allocations",
    status_code=201,
    response_model=AllocationAnswer,
    responses={200: {"model": AllocationAnswer, "description": "A preview: nothing was written."}},
)
async def allocate(
    goal_id: UUID, body: AllocationBody, context: InContext, principal: ManagerOrAdmin, once: Idempotent
) -> Response:
    """Share a goal out by ability, experience and availability; with `preview` nothing is written."""
    order = body.to_order()

    async def share(tx: AsyncConnection) -> Reply:
        goal = await seen_goal(tx, await sight_of(tx, principal, context), goal_id, lock=not body.preview)
        made = await share_out(tx, goal, order, context.yardstick.calendar)
        if body.preview:
            return Reply(200, await _answer(tx, made, body))
        goal = await put_in_force(tx, made, order, context.yardstick, principal.subject, context.clock())
        return Reply(201, await _answer(tx, made, body), {"etag": etag(goal.version)})

    return await once.run(context.database, share)


async def _answer(tx: AsyncConnection, made: Plan, body: AllocationBody) -> AllocationAnswer:
    people = [PersonShare.of(quota) for quota in made.quotas]
    return AllocationAnswer(
        goal_id=made.goal.id,
        version=made.version,
        preview=body.preview,
        to=body.to,
        method=body.method,
        bounds={"min": body.bounds.min, "max": body.bounds.max},
        target_value=text_of(made.goal.target),
        unit=made.goal.kpi.unit,
        currency=made.goal.currency,
        items=people if body.to == "people" else await _by_team(tx, made, people),
        sum=_sum(people),
    )


async def _by_team(tx: AsyncConnection, made: Plan, people: list[PersonShare]) -> list[TeamShare]:
    kind, _, name = made.goal.scope.partition(":")
    top = UUID(name) if kind == "team" else None
    members: dict[UUID | None, list[PersonShare]] = {}
    for share in people:
        members.setdefault(child_of(top, share.team_id, made.parents), []).append(share)
    known = await teams.all_by_id(tx, [team_id for team_id in members if team_id])
    return [
        TeamShare(
            team_id=team_id,
            external_id=known[team_id].external_id if team_id else None,
            name=known[team_id].name if team_id else None,
            quota=_sum(shares),
            people=shares,
        )
        for team_id, shares in members.items()
    ]


def _sum(shares: list[PersonShare]) -> str:
    return text_of(sum((Decimal(share.quota) for share in shares), Decimal(0)))
