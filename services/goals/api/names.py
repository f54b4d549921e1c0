"""Names of people and teams, for the services that render a text and keep no names themselves."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field

from services.goals.api.context import InContext
from services.goals.domain.people import Person, Team
from services.goals.store import people, teams
from shared.auth.directory import EXTERNAL, visible
from shared.web import models
from shared.web.principal import CurrentPrincipal

router = APIRouter(tags=["names"])

LARGEST_REQUEST = 500


class NamesQuery(models.Query):
    """Ids, external ids or owner keys (`external:...`) of people and teams: repeated, or comma separated."""

    ids: Annotated[list[str], Field(min_length=1, max_length=LARGEST_REQUEST)]


class NameAnswer(models.Answer):
    """Who or what an id is; `name` is null once erased."""

    id: UUID
    kind: Literal["person", "team"]
    external_id: str
    name: str | None


class NamesAnswer(models.Answer):
    """Those that are known and may be seen, people first."""

    items: list[NameAnswer]


@router.get("/names", response_model=NamesAnswer)
async def read_names(
    query: Annotated[NamesQuery, Query()], context: InContext, principal: CurrentPrincipal
) -> NamesAnswer:
    """Look up names; what is unknown or out of sight is left out."""
    asked = [part.removeprefix(EXTERNAL) for told in query.ids for part in (told, *told.split(",")) if part]
    async with context.database.transaction() as tx:
        sight = await visible(tx, principal, on=context.yardstick.today(context.clock()))
        people_ids = set((await people.named(tx, asked)).values())
        team_ids = set((await teams.named(tx, asked)).values())
        if not sight.everything:
            people_ids = {each for each in people_ids if str(each) in sight.owner_keys}
            team_ids &= set(sight.team_ids)
        known_people = await people.all_by_id(tx, sorted(people_ids))
        known_teams = await teams.all_by_id(tx, sorted(team_ids))
    named: list[tuple[Literal["person", "team"], Person | Team]] = [
        *(("person", each) for each in known_people.values()),
        *(("team", each) for each in known_teams.values()),
    ]
    return NamesAnswer(
        items=[NameAnswer(id=who.id, kind=kind, external_id=who.external_id, name=who.name) for kind, who in named]
    )
