"""Deliveries over HTTP: what became of telling about an alert."""

from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from services.notify.api.context import CurrentContext
from services.notify.domain.alert import TransitionName
from services.notify.domain.delivery import ChannelKind, Delivery, DeliveryState
from services.notify.store import deliveries as delivery_store
from services.notify.store.tables import DELIVERY
from services.notify.store.visibility import deliveries_seen
from shared.language import Text
from shared.web.idempotency import Idempotent, Reply
from shared.web.models import Answer, Page, Rfc3339
from shared.web.pagination import Pagination, page_response, read_position
from shared.web.principal import CurrentPrincipal, ManagerOrAdmin
from shared.web.problems import conflict, not_found

router = APIRouter(tags=["deliveries"])

_NOT_OVER: Text = {
    "zh": "只有失败或放弃的发送可以重试。",
    "en": "Only a failed or dead delivery can be tried again.",
}


class DeliveryFilters(Pagination):
    """Which deliveries to list."""

    alert_id: UUID | None = None
    channel_id: UUID | None = None
    state: DeliveryState | None = None


class AttemptAnswer(Answer):
    """One try: an HTTP status where one came, an error where it did not succeed."""

    at: Rfc3339
    status: int | None
    error: str | None


class DeliveryAnswer(Answer):
    """Telling one target of one transition of an alert. `webhook_id` is the same on every attempt.

    `pending`: not tried yet; `failed`: tried in vain, next at `next_attempt_at`; `dead`: given up.
    """

    id: UUID
    alert_id: UUID
    transition: TransitionName
    kind: ChannelKind
    channel_id: UUID | None
    recipient: str | None
    state: DeliveryState
    attempts: list[AttemptAnswer]
    next_attempt_at: Rfc3339 | None
    created_at: Rfc3339
    sent_at: Rfc3339 | None
    webhook_id: str

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        attempts = [AttemptAnswer(at=one.at, status=one.status, error=one.error) for one in delivery.attempts]
        return cls(
            id=delivery.id,
            alert_id=delivery.alert_id,
            transition=delivery.transition,
            kind=delivery.kind,
            channel_id=delivery.channel_id,
            recipient=delivery.recipient,
            state=delivery.state,
            attempts=attempts,
            next_attempt_at=delivery.next_at if delivery.state in ("pending", "failed") else None,
            created_at=delivery.created_at,
            sent_at=delivery.sent_at,
            webhook_id=delivery.message_id,
        )


@router.get("/deliveries")
async def read_all(
    request: Request,
    response: Response,
    wanted: Annotated[DeliveryFilters, Query()],
    principal: CurrentPrincipal,
    context: CurrentContext,
) -> Page[DeliveryAnswer]:
    """List deliveries of the alerts that the caller may see, the newest first."""
    after = read_position(request, wanted.cursor, wanted, tuple[UUID])
    async with context.database.transaction() as tx:
        among = [await deliveries_seen(tx, principal), *_filters(wanted)]
        found = await delivery_store.page(tx, among, after[0] if after else None, wanted.limit + 1)
    shown = [DeliveryAnswer.of(delivery) for delivery in found[: wanted.limit]]
    following = [found[wanted.limit - 1].id] if len(found) > wanted.limit else None
    return page_response(request, response, shown, following, wanted)


@router.get("/deliveries/{delivery_id}")
async def read(delivery_id: UUID, principal: CurrentPrincipal, context: CurrentContext) -> DeliveryAnswer:
    """Read one delivery with all its attempts."""
    async with context.database.transaction() as tx:
        delivery = await delivery_store.find(tx, delivery_id, await deliveries_seen(tx, principal))
    if delivery is None:
        raise not_found("delivery")
    return DeliveryAnswer.of(delivery)


@router.post("/deliveries/{delivery_id}/retries", status_code=202, response_model=DeliveryAnswer)
async def retry(delivery_id: UUID, once: Idempotent, principal: ManagerOrAdmin, context: CurrentContext) -> Response:
    """Put a failed or dead delivery back: it is tried at once, with all its attempts before it."""

    async def work(tx: AsyncConnection) -> Reply:
        seen = await deliveries_seen(tx, principal)
        if await delivery_store.find(tx, delivery_id, seen) is None:
            raise not_found("delivery")
        if not await delivery_store.put_back(tx, delivery_id, context.clock()):
            raise conflict("delivery_not_over", _NOT_OVER)
        delivery = await delivery_store.find(tx, delivery_id, seen)
        return Reply(202, DeliveryAnswer.of(delivery) if delivery else None)

    reply = await once.run(context.database, work)
    context.wake.set()
    return reply


def _filters(wanted: DeliveryFilters) -> list[ColumnElement[bool]]:
    asked = {
        DELIVERY.c.alert_id: wanted.alert_id,
        DELIVERY.c.channel_id: wanted.channel_id,
        DELIVERY.c.state: wanted.state,
    }
    return [column == value for column, value in asked.items() if value is not None]
