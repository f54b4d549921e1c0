"""Customers over HTTP: create, list, read, change, erase, and every version of one."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self, cast
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import ConfigDict, Field, StringConstraints
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request

from services.pipeline.api.context import CurrentContext
from services.pipeline.api.deal_models import ClassText, OwnerAnswer, OwnerBody, owner_answer
from services.pipeline.domain.customer import Customer, CustomerFields
from services.pipeline.store.customer_list import CustomerFilter, CustomerOrder, customer_versions, list_customers
from services.pipeline.store.customers import find_customer
from services.pipeline.store.deals import OwnerKeys
from services.pipeline.store.owners import Owner, describe_owners
from services.pipeline.use_cases.customers import (
    add_customer,
    alter_customer,
    forget_customer,
    lock_visible_customer,
)
from services.pipeline.use_cases.deals import key_of_owner, own_key
from services.pipeline.use_cases.errors import NotFound
from services.pipeline.use_cases.visibility import visible_keys
from shared.auth.directory import owner_keys
from shared.events.pipeline import CustomerChanged, CustomerEvent, Lifecycle
from shared.web.conditions import IfMatch, etag, not_modified, require_match
from shared.web.idempotency import Idempotent, Reply
from shared.web.models import Answer, Body, ExternalId, Page, Rfc3339, ShortText
from shared.web.pagination import Pagination, page_response, read_position
from shared.web.principal import CurrentPrincipal

router = APIRouter(tags=["customers"])

ContactText = Annotated[str, StringConstraints(min_length=1, max_length=1000)] | None
_COLUMNS = ("name", "lifecycle", "lifecycle_at", "segment", "sector", "source", "external_id")
_POSITIONS: dict[str, Any] = {
    "updated_at": tuple[datetime, UUID],
    "created_at": tuple[datetime, UUID],
    "name": tuple[str, UUID],
}


class ContactBody(Body):
    """Personal text: erased with the customer."""

    name: ContactText = None
    phone: ContactText = None
    email: ContactText = None
    wechat: ContactText = None
    address: ContactText = None
    note: ContactText = None


class _CustomerFieldsBody(Body):
    lifecycle: Lifecycle = "lead"
    lifecycle_at: Rfc3339 | None = None
    owner: OwnerBody | None = None
    segment: ClassText | None = None
    sector: ClassText | None = None
    source: ClassText | None = None
    external_id: ExternalId | None = None
    contact: ContactBody = ContactBody()


class CustomerBody(_CustomerFieldsBody):
    """A new customer; its lifecycle holds since `lifecycle_at`, by default since now."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Harbour Works",
                    "lifecycle": "lead",
                    "segment": "industry",
                    "sector": "logistics",
                    "contact": {"name": "Li Wei", "email": "li.wei@harbour.example"},
                }
            ]
        }
    )

    name: ShortText


class CustomerPatch(_CustomerFieldsBody):
    """Changes of a customer: absent fields stay, null takes a value away; the lifecycle may also go back."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"lifecycle": "qualified"}]})

    name: ShortText = ""


class CustomerAnswer(Answer):
    """A customer."""

    id: UUID
    name: str
    lifecycle: Lifecycle
    lifecycle_at: Rfc3339 | None
    owner: OwnerAnswer | None
    segment: str | None
    sector: str | None
    source: str | None
    external_id: str | None
    contact: dict[str, str]
    created_at: Rfc3339
    updated_at: Rfc3339
    version: int

    @classmethod
    def of(cls, customer: Customer, owner: Owner | None) -> Self:
        names = (name for name in cls.model_fields if name != "owner")
        return cls(owner=owner_answer(owner), **{name: getattr(customer, name) for name in names})


class CustomerVersionAnswer(Answer):
    """One version of a customer: what happened and which lifecycle it had before and after."""

    version: int
    type: str
    lifecycle_before: Lifecycle | None
    lifecycle: Lifecycle
    at: Rfc3339 | None
    recorded_at: Rfc3339

    @classmethod
    def of(cls, event: CustomerEvent) -> Self:
        return cls(
            version=event.version,
            type=event.type.split(".")[2],
            lifecycle_before=event.lifecycle_before if isinstance(event, CustomerChanged) else None,
            lifecycle=event.lifecycle,
            at=event.occurred_at,
            recorded_at=event.recorded_at,
        )


class CustomerQuery(Pagination):
    """Filters and order of the list of customers."""

    lifecycle: Lifecycle | None = None
    segment: Annotated[str | None, Field(max_length=200)] = None
    external_id: Annotated[str | None, Field(max_length=200)] = None
    owner_id: Annotated[str | None, Field(max_length=200, description="A person's id or external id.")] = None
    updated_since: Rfc3339 | None = None
    sort: Literal["updated_at", "-updated_at", "created_at", "-created_at", "name", "-name"] = "-updated_at"


@router.post("/customers", status_code=201, response_model=CustomerAnswer)
async def post_customer(
    body: CustomerBody, context: CurrentContext, who: CurrentPrincipal, once: Idempotent
) -> Response:
    """Create a customer; it is the caller's where no owner is named."""

    async def work(tx: AsyncConnection) -> Reply:
        told = await _told(tx, body, await visible_keys(tx, who))
        if "owner" not in told:
            told["owner"] = await own_key(tx, who)
        customer = await add_customer(context, tx, who, told)
        (answer,) = await _answers(tx, customer)
        headers = {"location": f"/pipeline/v1/customers/{customer.id}", "etag": etag(customer.version)}
        return Reply(201, answer, headers)

    return await once.run(context.database, work)


@router.get("/customers")
async def read_customers(
    request: Request,
    response: Response,
    query: Annotated[CustomerQuery, Query()],
    context: CurrentContext,
    who: CurrentPrincipal,
) -> Page[CustomerAnswer]:
    """List the customers within the caller's scope: their own, nobody's, and those of their deals."""
    order = CustomerOrder.of(query.sort)
    after = read_position(request, query.cursor, query, _POSITIONS[order.by])
    async with context.database.snapshot() as tx:
        person = None if query.owner_id is None else await owner_keys(tx, query.owner_id)
        where = CustomerFilter(query.lifecycle, query.segment, query.external_id, person, query.updated_since)
        found = await list_customers(tx, await visible_keys(tx, who), where, order, query.limit + 1, after)
        shown = found[: query.limit]
        answers = await _answers(tx, *shown)
    more = order.position_of(shown[-1]) if len(found) > query.limit else None
    return page_response(request, response, answers, more, query)


@router.get("/customers/{customer_id}", response_model=CustomerAnswer)
async def read_customer(
    customer_id: UUID, request: Request, response: Response, context: CurrentContext, who: CurrentPrincipal
) -> CustomerAnswer | Response:
    """Read one customer."""
    async with context.database.snapshot() as tx:
        customer = await find_customer(tx, customer_id, await visible_keys(tx, who))
        if customer is None:
            raise NotFound("customer")
        (answer,) = await _answers(tx, customer)
    response.headers["etag"] = etag(customer.version)
    return not_modified(request, customer.version) or answer


@router.patch("/customers/{customer_id}")
async def patch_customer(
    customer_id: UUID,
    body: CustomerPatch,
    response: Response,
    context: CurrentContext,
    who: CurrentPrincipal,
    if_match: IfMatch = None,
) -> CustomerAnswer:
    """Change a customer; a change to what it is already raises no version."""
    async with context.database.transaction() as tx:
        customer = await lock_visible_customer(tx, who, customer_id)
        require_match(if_match, customer.version)
        told = await _told(tx, body, await visible_keys(tx, who))
        customer = await alter_customer(context, tx, who, customer, told)
        (answer,) = await _answers(tx, customer)
    response.headers["etag"] = etag(customer.version)
    return answer


@router.delete("/customers/{customer_id}", status_code=204)
async def delete_customer(
    customer_id: UUID, context: CurrentContext, who: CurrentPrincipal, if_match: IfMatch = None
) -> Response:
    """Erase a customer's personal text; its deals and the numbers stay."""
    async with context.database.transaction() as tx:
        customer = await lock_visible_customer(tx, who, customer_id)
        require_match(if_match, customer.version)
        await forget_customer(context, tx, who, customer)
    return Response(status_code=204)


class CustomerHistoryQuery(Pagination):
    """Pages of a history."""


@router.get("/customers/{customer_id}/history")
async def read_customer_history(
    customer_id: UUID,
    request: Request,
    response: Response,
    query: Annotated[CustomerHistoryQuery, Query()],
    context: CurrentContext,
    who: CurrentPrincipal,
) -> Page[CustomerVersionAnswer]:
    """Read every version of a customer, from the first."""
    after = read_position(request, query.cursor, query, tuple[int])
    async with context.database.snapshot() as tx:
        if await find_customer(tx, customer_id, await visible_keys(tx, who)) is None:
            raise NotFound("customer")
        found = await customer_versions(tx, customer_id, after[0] if after else 0, query.limit + 1)
    shown = [CustomerVersionAnswer.of(event) for event in found[: query.limit]]
    more = (shown[-1].version,) if len(found) > query.limit else None
    return page_response(request, response, shown, more, query)


async def _answers(tx: AsyncConnection, *customers: Customer) -> list[CustomerAnswer]:
    owners = await describe_owners(tx, {customer.owner for customer in customers})
    return [CustomerAnswer.of(customer, owners.get(customer.owner or "")) for customer in customers]


async def _told(tx: AsyncConnection, body: CustomerBody | CustomerPatch, keys: OwnerKeys) -> CustomerFields:
    """Return what a body tells: only the fields that were sent. Raises OutOfScope."""
    sent = body.model_fields_set
    told: dict[str, Any] = {name: getattr(body, name) for name in _COLUMNS if name in sent}
    if "contact" in sent:
        told["contact"] = body.contact.model_dump(exclude_unset=True)
    if "owner" in sent:
        told["owner"] = await key_of_owner(tx, body.owner.to_name() if body.owner else None, keys)
    return cast("CustomerFields", told)
