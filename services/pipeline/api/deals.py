"""Deals over HTTP: create, list, read, change and delete."""

from datetime import datetime
from typing import Annotated, Any, Literal, cast
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request

from services.pipeline.api.context import CurrentContext
from services.pipeline.api.deal_models import DealAnswer, DealBody, DealPatch
from services.pipeline.domain.deal import Deal
from services.pipeline.domain.deal_fields import DealFields
from services.pipeline.store.deal_list import DealFilter, Order, Position, list_deals
from services.pipeline.store.deals import OwnerKeys, find_deal
from services.pipeline.use_cases.context import Context
from services.pipeline.use_cases.deal_views import view_deals
from services.pipeline.use_cases.deals import (
    add_deal,
    change_deal,
    delete_deal,
    key_of_owner,
    lock_visible_deal,
    own_key,
)
from services.pipeline.use_cases.errors import Fault, Invalid, NotFound
from services.pipeline.use_cases.visibility import visible_keys
from shared.auth.directory import owner_keys
from shared.events.base import Names
from shared.web.conditions import IfMatch, etag, not_modified, require_match
from shared.web.idempotency import Idempotent, Reply
from shared.web.models import Code, Page, Rfc3339
from shared.web.pagination import Pagination, page_response, read_position
from shared.web.principal import CurrentPrincipal

router = APIRouter(tags=["deals"])

_COLUMNS = ("name", "customer_id", "expected_close_on", "external_id", "product", "source", "lost_reason", "fields")
_POSITIONS: dict[str, type[Position]] = {
    "updated_at": tuple[datetime, UUID],
    "created_at": tuple[datetime, UUID],
    "amount": tuple[int, UUID],
    "name": tuple[str, UUID],
}


class DealQuery(Pagination):
    """Filters and order of the list of deals."""

    process: Code | None = None
    stage: Code | None = None
    status: Literal["open", "won", "lost"] | None = None
    owner_id: Annotated[str | None, Field(max_length=200, description="A person's id or external id.")] = None
    customer_id: UUID | None = None
    updated_since: Rfc3339 | None = None
    sort: Literal["updated_at", "-updated_at", "created_at", "-created_at", "amount", "-amount", "name", "-name"] = (
        "-updated_at"
    )


@router.post("/deals", status_code=201, response_model=DealAnswer)
async def create_deal(body: DealBody, context: CurrentContext, who: CurrentPrincipal, once: Idempotent) -> Response:
    """Create a deal in the first open stage of the newest version of its process, with that stage's tasks."""

    async def work(tx: AsyncConnection) -> Reply:
        told = await _told(tx, body, await visible_keys(tx, who))
        if told.get("owner") is None:
            told["owner"] = await own_key(tx, who)
        if told["owner"] is None:
            raise Invalid(Fault("/owner", "required", Names("必填", "is required")))
        deal = await add_deal(context, tx, who, body.process, told)
        answer = await _answer(context, tx, deal)
        return Reply(201, answer, {"location": f"/pipeline/v1/deals/{deal.id}", "etag": etag(deal.version)})

    return await once.run(context.database, work)


@router.get("/deals")
async def read_deals(
    request: Request,
    response: Response,
    query: Annotated[DealQuery, Query()],
    context: CurrentContext,
    who: CurrentPrincipal,
) -> Page[DealAnswer]:
    """List the deals within the caller's scope."""
    order = Order.of(query.sort)
    after = read_position(request, query.cursor, query, _POSITIONS[order.by])
    async with context.database.snapshot() as tx:
        where = DealFilter(
            query.process,
            query.stage,
            query.status,
            None if query.owner_id is None else await owner_keys(tx, query.owner_id),
            query.customer_id,
            query.updated_since,
        )
        found = await list_deals(tx, await visible_keys(tx, who), where, order, query.limit + 1, after)
        views = await view_deals(context, tx, found[: query.limit])
    more = order.position_of(found[query.limit - 1]) if len(found) > query.limit else None
    return page_response(request, response, [DealAnswer.of(*view) for view in views], more, query)


@router.get("/deals/{deal_id}", response_model=DealAnswer)
async def read_deal(
    deal_id: UUID, request: Request, response: Response, context: CurrentContext, who: CurrentPrincipal
) -> DealAnswer | Response:
    """Read one deal."""
    async with context.database.snapshot() as tx:
        deal = await find_deal(tx, deal_id, await visible_keys(tx, who))
        if deal is None:
            raise NotFound("deal")
        answer = await _answer(context, tx, deal)
    response.headers["etag"] = etag(deal.version)
    return not_modified(request, deal.version) or answer


@router.patch("/deals/{deal_id}")
async def patch_deal(
    deal_id: UUID,
    body: DealPatch,
    response: Response,
    context: CurrentContext,
    who: CurrentPrincipal,
    if_match: IfMatch = None,
) -> DealAnswer:
    """Change fields of a deal other than its stage; a change to what it is already raises no version."""
    async with context.database.transaction() as tx:
        deal = await lock_visible_deal(tx, who, deal_id)
        require_match(if_match, deal.version)
        told = await _told(tx, body, await visible_keys(tx, who))
        deal = await change_deal(context, tx, who, deal, told)
        answer = await _answer(context, tx, deal)
    response.headers["etag"] = etag(deal.version)
    return answer


@router.delete("/deals/{deal_id}", status_code=204)
async def remove_deal(
    deal_id: UUID, context: CurrentContext, who: CurrentPrincipal, if_match: IfMatch = None
) -> Response:
    """Take a deal back: all its facts leave the KPIs, its personal text is erased."""
    async with context.database.transaction() as tx:
        deal = await lock_visible_deal(tx, who, deal_id)
        require_match(if_match, deal.version)
        await delete_deal(context, tx, who, deal)
    return Response(status_code=204)


async def _answer(context: Context, tx: AsyncConnection, deal: Deal) -> DealAnswer:
    (view,) = await view_deals(context, tx, [deal])
    return DealAnswer.of(*view)


async def _told(tx: AsyncConnection, body: DealBody | DealPatch, keys: OwnerKeys) -> DealFields:
    """Return what a body tells: only the fields that were sent. Raises OutOfScope."""
    sent = body.model_fields_set
    told: dict[str, Any] = {name: getattr(body, name) for name in _COLUMNS if name in sent}
    if "amount" in sent:
        money = None if body.amount is None else body.amount.to_money()
        told |= {"amount": money and money.minor, "currency": money and money.currency}
    if "owner" in sent:
        told["owner"] = await key_of_owner(tx, None if body.owner is None else body.owner.to_name(), keys)
    return cast("DealFields", told)
