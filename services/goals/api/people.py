"""People over HTTP."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Discriminator, Field, JsonValue, StringConstraints, Tag, WithJsonSchema
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from services.goals.api.batches import LARGEST_BATCH, BatchAnswer, add_all, one_or_many
from services.goals.api.context import InContext
from services.goals.api.days import Day
from services.goals.api.histories import HistoryAnswer, HistoryQuery, history_of
from services.goals.domain.people import Person
from services.goals.domain.refusal import Missing, Refusal
from services.goals.store import people, teams
from services.goals.use_cases.edit import Edit
from services.goals.use_cases.people import NewPerson, add_people, change_person
from shared.auth.directory import visible
from shared.auth.principal import Principal
from shared.events.goals import Role
from shared.web.conditions import IfMatch, etag, not_modified, require_match
from shared.web.idempotency import Idempotent, Reply
from shared.web.models import Answer, Body, ExternalId, Page, ShortText, StrictBool, StrictInt
from shared.web.pagination import Pagination, page_response, read_position
from shared.web.principal import AdminOnly, CurrentPrincipal

router = APIRouter(tags=["people"])

Ability = Annotated[StrictInt, Field(ge=0, le=100, description="50 is ordinary.")]
Months = Annotated[StrictInt, Field(ge=0, le=1200)]
Availability = Annotated[
    str,
    StringConstraints(pattern=r"^(0(\.[0-9]{1,4})?|1(\.0{1,4})?)$"),
    Field(description="Share of full time, 0 to 1, at most four decimals."),
]
_EXAMPLE: dict[str, JsonValue] = {
    "external_id": "anna",
    "name": "Anna Li",
    "team_id": "east",
    "role": "rep",
    "ability": 72,
    "experience_months": 18,
    "availability": "1.00",
}


class NewPersonBody(Body):
    """A person; `team_id` is an id or external id, theirs since ever or since `effective_on`."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    external_id: ExternalId
    name: ShortText
    team_id: ExternalId | None = None
    effective_on: Day | None = None
    role: Role = "rep"
    ability: Ability = 50
    experience_months: Months = 12
    availability: Availability = "1.00"

    def to_new(self) -> NewPerson:
        return NewPerson(
            external_id=self.external_id,
            name=self.name,
            role=self.role,
            team=self.team_id,
            joined_on=self.effective_on,
            ability_bp=self.ability * 100,
            experience_months=self.experience_months,
            availability_bp=_basis_points(self.availability),
        )


class PersonChangesBody(Body):
    """What is to change from `effective_on` (today when left out); a null `name` erases it, a null `team_id` leaves."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"team_id": "west", "effective_on": "2026-12-01"}]})

    name: ShortText | None = None
    team_id: ExternalId | None = None
    role: Role = "rep"
    ability: Ability = 50
    experience_months: Months = 0
    availability: Availability = "1.00"
    active: StrictBool = True
    effective_on: Day | None = None

    def changes(self) -> dict[str, Any]:
        told = {
            "name": ("name", self.name),
            "team_id": ("team", self.team_id),
            "role": ("role", self.role),
            "ability": ("ability_bp", self.ability * 100),
            "experience_months": ("experience_months", self.experience_months),
            "availability": ("availability_bp", _basis_points(self.availability)),
            "active": ("active", self.active),
        }
        return dict(change for name, change in told.items() if name in self.model_fields_set)


class PersonAnswer(Answer):
    """A person, in the team of today; `name` is null once erased."""

    id: UUID
    external_id: str
    name: str | None
    role: Role
    team_id: UUID | None
    ability: int
    experience_months: int
    availability: str
    active: bool

    @classmethod
    def of(cls, person: Person, today: date) -> "PersonAnswer":
        return cls(
            id=person.id,
            external_id=person.external_id,
            name=person.name,
            role=person.role,
            team_id=person.team_on(today),
            ability=person.ability_bp // 100,
            experience_months=person.experience_months,
            availability=_share(person.availability_bp),
            active=person.active,
        )


def _spoken(state: dict[str, Any]) -> dict[str, Any]:
    """Return a stored version in the names and units in which a person is written and read."""
    told = {name: value for name, value in state.items() if not name.endswith("_bp")}
    return told | {"ability": state["ability_bp"] // 100, "availability": _share(state["availability_bp"])}


class PeopleQuery(Pagination):
    """`team_id` (id or external id) keeps those who are in that very team today."""

    team_id: ExternalId | None = None
    external_id: ExternalId | None = None


_Many = Annotated[
    list[Any],
    Field(min_length=1, max_length=LARGEST_BATCH),
    WithJsonSchema({"type": "array", "items": {"$ref": "#/components/schemas/NewPersonBody"}}),
]
OneOrMany = Annotated[Annotated[NewPersonBody, Tag("one")] | Annotated[_Many, Tag("many")], Discriminator(one_or_many)]


@router.post("/people", status_code=201, response_model=PersonAnswer, responses={200: {"model": BatchAnswer}})
async def create(
    request: Request, body: OneOrMany, context: InContext, principal: AdminOnly, once: Idempotent
) -> Response:
    """Add one person (201), or each of a list who can be added (200)."""
    now = context.clock()

    async def add(tx: AsyncConnection) -> Reply:
        async def fates(new: Sequence[NewPersonBody]) -> Sequence[Person | Refusal]:
            return await add_people(tx, [each.to_new() for each in new], principal.subject, now)

        if not isinstance(body, NewPersonBody):
            return await add_all(request, NewPersonBody, body, fates)
        [made] = await fates([body])
        if isinstance(made, Refusal):
            raise made
        answer = PersonAnswer.of(made, context.yardstick.today(now))
        return Reply(201, answer, {"location": f"/goals/v1/people/{made.id}", "etag": etag(made.version)})

    return await once.run(context.database, add)


@router.get("/people", response_model=Page[PersonAnswer])
async def read_page(
    request: Request,
    response: Response,
    query: Annotated[PeopleQuery, Query()],
    context: InContext,
    principal: CurrentPrincipal,
) -> Page[PersonAnswer]:
    """List people the caller may see, by id."""
    position = read_position(request, query.cursor, query, tuple[UUID])
    today = context.yardstick.today(context.clock())
    async with context.database.transaction() as tx:
        sight = await visible(tx, principal, on=today)
        named = await teams.named(tx, [query.team_id]) if query.team_id else {}
        found: Sequence[Person] = []
        if query.team_id is None or query.team_id in named:
            found = await people.page(
                tx,
                visible=None if sight.everything else sight.owner_keys,
                external_id=query.external_id,
                team_id=named.get(query.team_id or ""),
                today=today,
                after=position[0] if position else None,
                limit=query.limit + 1,
            )
    shown = found[: query.limit]
    following = [shown[-1].id] if len(found) > query.limit else None
    return page_response(request, response, [PersonAnswer.of(each, today) for each in shown], following, query)


@router.get("/people/{person_id}", response_model=PersonAnswer)
async def read(
    request: Request, response: Response, person_id: UUID, context: InContext, principal: CurrentPrincipal
) -> PersonAnswer | Response:
    """Read one person."""
    today = context.yardstick.today(context.clock())
    async with context.database.transaction() as tx:
        person = await _seen(tx, principal, person_id, today)
    response.headers["etag"] = etag(person.version)
    return not_modified(request, person.version) or PersonAnswer.of(person, today)


@router.get("/people/{person_id}/history", response_model=HistoryAnswer)
async def read_history(
    person_id: UUID, query: Annotated[HistoryQuery, Query()], context: InContext, principal: CurrentPrincipal
) -> HistoryAnswer:
    """Every version of a person with the team memberships over time, or with `on` the one in force on that day."""
    async with context.database.transaction() as tx:
        await _seen(tx, principal, person_id, context.yardstick.today(context.clock()))
        return await history_of(tx, "person", person_id, query.on, _spoken)


@router.patch("/people/{person_id}", response_model=PersonAnswer)
async def change(
    response: Response,
    person_id: UUID,
    body: PersonChangesBody,
    context: InContext,
    principal: AdminOnly,
    if_match: IfMatch = None,
) -> PersonAnswer:
    """Change a person; a new `team_id` moves them on `effective_on`."""
    now = context.clock()
    today = context.yardstick.today(now)
    edit = Edit(
        by=principal.subject,
        now=now,
        today=today,
        check=lambda version: require_match(if_match, version),
        asked_on=body.effective_on,
    )
    async with context.database.transaction() as tx:
        person = await change_person(tx, person_id, body.changes(), edit)
    response.headers["etag"] = etag(person.version)
    return PersonAnswer.of(person, today)


async def _seen(tx: AsyncConnection, principal: Principal, person_id: UUID, today: date) -> Person:
    sight = await visible(tx, principal, on=today)
    person = (await people.all_by_id(tx, [person_id])).get(person_id)
    if person is None or not (sight.everything or str(person_id) in sight.owner_keys):
        raise Missing("person")
    return person


def _basis_points(share: str) -> int:
    return int(Decimal(share).scaleb(4))


def _share(basis_points: int) -> str:
    """Return a share with two decimals, or four where it has them."""
    share = Decimal(basis_points).scaleb(-4)
    return f"{share:.2f}" if basis_points % 100 == 0 else f"{share:f}"
