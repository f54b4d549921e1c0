"""Teams over HTTP."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Discriminator, Field, JsonValue, Tag, WithJsonSchema
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from services.goals.api.batches import LARGEST_BATCH, BatchAnswer, add_all, one_or_many
from services.goals.api.context import InContext
from services.goals.api.histories import HistoryAnswer, HistoryQuery, history_of
from services.goals.domain.people import Team
from services.goals.domain.refusal import Missing, Refusal
from services.goals.store import teams
from services.goals.use_cases.edit import Edit
from services.goals.use_cases.teams import NewTeam, add_teams, change_team
from shared.auth.directory import visible
from shared.auth.principal import Principal
from shared.web.conditions import IfMatch, etag, not_modified, require_match
from shared.web.idempotency import Idempotent, Reply
from shared.web.models import Answer, Body, ExternalId, Page, ShortText
from shared.web.pagination import Pagination, page_response, read_position
from shared.web.principal import AdminOnly, CurrentPrincipal

router = APIRouter(tags=["teams"])

_EXAMPLE: dict[str, JsonValue] = {"external_id": "east", "name": "East", "parent_id": "sales", "manager_id": "anna"}


class NewTeamBody(Body):
    """A team; `parent_id` and `manager_id` are ids or external ids, and the manager may be told of later."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    external_id: ExternalId
    name: ShortText
    parent_id: ExternalId | None = None
    manager_id: ExternalId | None = None

    def to_new(self) -> NewTeam:
        return NewTeam(self.external_id, self.name, self.parent_id, self.manager_id)


class TeamChangesBody(Body):
    """What is to change; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"manager_id": "anna"}]})

    name: ShortText = ""
    parent_id: ExternalId | None = None
    manager_id: ExternalId | None = None

    def changes(self) -> dict[str, Any]:
        named = {"name": self.name, "parent": self.parent_id, "manager": self.manager_id}
        return {name: value for name, value in named.items() if {name, f"{name}_id"} & self.model_fields_set}


class TeamAnswer(Answer):
    """A team; `manager_unresolved` names a manager whom nobody has told us about yet."""

    id: UUID
    external_id: str
    name: str
    parent_id: UUID | None
    manager_id: UUID | None
    manager_unresolved: str | None

    @classmethod
    def of(cls, team: Team) -> "TeamAnswer":
        return cls(
            id=team.id,
            external_id=team.external_id,
            name=team.name,
            parent_id=team.parent_id,
            manager_id=team.manager_id,
            manager_unresolved=None if team.manager_id else team.manager_ref,
        )


class TeamsQuery(Pagination):
    """`team_id` (id or external id) keeps that team and its children."""

    team_id: ExternalId | None = None
    external_id: ExternalId | None = None


_Many = Annotated[
    list[Any],
    Field(min_length=1, max_length=LARGEST_BATCH),
    WithJsonSchema({"type": "array", "items": {"$ref": "#/components/schemas/NewTeamBody"}}),
]
OneOrMany = Annotated[Annotated[NewTeamBody, Tag("one")] | Annotated[_Many, Tag("many")], Discriminator(one_or_many)]


@router.post("/teams", status_code=201, response_model=TeamAnswer, responses={200: {"model": BatchAnswer}})
async def create(
    request: Request, body: OneOrMany, context: InContext, principal: AdminOnly, once: Idempotent
) -> Response:
    """Add one team (201), or each of a list that can be added (200)."""

    async def add(tx: AsyncConnection) -> Reply:
        async def fates(new: Sequence[NewTeamBody]) -> Sequence[Team | Refusal]:
            return await add_teams(tx, [each.to_new() for each in new], principal.subject, context.clock())

        if not isinstance(body, NewTeamBody):
            return await add_all(request, NewTeamBody, body, fates)
        [made] = await fates([body])
        if isinstance(made, Refusal):
            raise made
        return Reply(201, TeamAnswer.of(made), {"location": f"/goals/v1/teams/{made.id}", "etag": etag(made.version)})

    return await once.run(context.database, add)


@router.get("/teams", response_model=Page[TeamAnswer])
async def read_page(
    request: Request,
    response: Response,
    query: Annotated[TeamsQuery, Query()],
    context: InContext,
    principal: CurrentPrincipal,
) -> Page[TeamAnswer]:
    """List teams the caller may see, by id."""
    position = read_position(request, query.cursor, query, tuple[UUID])
    async with context.database.transaction() as tx:
        sight = await visible(tx, principal)
        named = await teams.named(tx, [query.team_id]) if query.team_id else {}
        found: Sequence[Team] = []
        if query.team_id is None or query.team_id in named:
            found = await teams.page(
                tx,
                visible=None if sight.everything else sight.team_ids,
                external_id=query.external_id,
                team_id=named.get(query.team_id or ""),
                after=position[0] if position else None,
                limit=query.limit + 1,
            )
    shown = found[: query.limit]
    following = [shown[-1].id] if len(found) > query.limit else None
    return page_response(request, response, [TeamAnswer.of(team) for team in shown], following, query)


@router.get("/teams/{team_id}", response_model=TeamAnswer)
async def read(
    request: Request, response: Response, team_id: UUID, context: InContext, principal: CurrentPrincipal
) -> TeamAnswer | Response:
    """Read one team."""
    async with context.database.transaction() as tx:
        team = await _seen(tx, principal, team_id)
    response.headers["etag"] = etag(team.version)
    return not_modified(request, team.version) or TeamAnswer.of(team)


@router.get("/teams/{team_id}/history", response_model=HistoryAnswer)
async def read_history(
    team_id: UUID, query: Annotated[HistoryQuery, Query()], context: InContext, principal: CurrentPrincipal
) -> HistoryAnswer:
    """Every version of a team, or with `on` the one in force on that day."""
    async with context.database.transaction() as tx:
        await _seen(tx, principal, team_id)
        return await history_of(tx, "team", team_id, query.on)


@router.patch("/teams/{team_id}", response_model=TeamAnswer)
async def change(
    response: Response,
    team_id: UUID,
    body: TeamChangesBody,
    context: InContext,
    principal: AdminOnly,
    if_match: IfMatch = None,
) -> TeamAnswer:
    """Change a team."""
    now = context.clock()
    edit = Edit(
        by=principal.subject,
        now=now,
        today=context.yardstick.today(now),
        check=lambda version: require_match(if_match, version),
    )
    async with context.database.transaction() as tx:
        team = await change_team(tx, team_id, body.changes(), edit)
    response.headers["etag"] = etag(team.version)
    return TeamAnswer.of(team)


async def _seen(tx: AsyncConnection, principal: Principal, team_id: UUID) -> Team:
    sight = await visible(tx, principal)
    team = (await teams.all_by_id(tx, [team_id])).get(team_id)
    if team is None or not (sight.everything or team_id in sight.team_ids):
        raise Missing("team")
    return team
