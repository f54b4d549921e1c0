"""The in-app inbox over HTTP: a list, what is read, and a stream of what comes."""

from collections.abc import Sequence
from typing import Annotated, Any, Self
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection
from sse_starlette import EventSourceResponse
from starlette.requests import Request
from starlette.responses import Response

from services.notify.api.alerts import TextBody
from services.notify.api.context import Context, CurrentContext
from services.notify.domain.alert import Alert, Severity
from services.notify.domain.rule import Rule
from services.notify.domain.texts import Message, references, render
from services.notify.store import alerts as alert_store
from services.notify.store import inbox as inbox_store
from services.notify.store import rules as rule_store
from services.notify.store.inbox import InboxItem
from services.notify.use_cases.inbox import mark_read, own_keys
from shared.web.idempotency import Idempotent, Reply
from shared.web.models import Answer, Page, Rfc3339
from shared.web.pagination import Pagination, page_response, read_position
from shared.web.principal import CurrentPrincipal
from shared.web.problems import not_found
from shared.web.sse import LastEventId, StreamPrincipal, feed_stream

router = APIRouter(tags=["inbox"])


class InboxFilters(Pagination):
    """Which items to list."""

    unread: Annotated[bool | None, Field(description="Only unread ones, or only read ones.")] = None


class InboxAnswer(Answer):
    """What the caller was told, once for an alert that fired and once for its end."""

    id: UUID
    alert_id: UUID
    type: str
    severity: Severity
    subject: dict[str, Any]
    title: TextBody
    text: TextBody
    created_at: Rfc3339
    read_at: Rfc3339 | None

    @classmethod
    def of(cls, item: InboxItem, alert: Alert, message: Message) -> Self:
        return cls(
            id=item.id,
            alert_id=item.alert_id,
            type=f"alert.{item.transition}",
            severity=alert.severity,
            subject=msgspec.to_builtins(alert.subject),
            title=TextBody.of(message.title),
            text=TextBody.of(message.text),
            created_at=item.created_at,
            read_at=item.read_at,
        )


class ReadAnswer(Answer):
    """An item that has been read, and how many are left."""

    id: UUID
    alert_id: UUID
    read_at: Rfc3339 | None
    unread: int


class InboxPage(Page[InboxAnswer]):
    """A page of the inbox; `unread` counts all unread items."""

    unread: int = 0


@router.get("/inbox")
async def read_all(
    request: Request,
    response: Response,
    wanted: Annotated[InboxFilters, Query()],
    principal: CurrentPrincipal,
    context: CurrentContext,
) -> InboxPage:
    """List the caller's own items, the newest first."""
    after = read_position(request, wanted.cursor, wanted, tuple[UUID])
    async with context.database.transaction() as tx:
        keys = await own_keys(tx, principal)
        items = await inbox_store.page(tx, keys, wanted.unread, after[0] if after else None, wanted.limit + 1)
        unread = await inbox_store.unread(tx, keys)
        alerts = await alert_store.named(tx, {item.alert_id for item in items})
        rules = await rule_store.named(tx, {alert.rule_id for alert in alerts.values()})
    shown = await _answers(context, items[: wanted.limit], alerts, rules)
    following = [items[wanted.limit - 1].id] if len(items) > wanted.limit else None
    page = page_response(request, response, shown, following, wanted)
    return InboxPage(items=page.items, next_cursor=page.next_cursor, unread=unread)


@router.post("/inbox/{item_id}/reads", status_code=201, response_model=ReadAnswer)
async def read(item_id: UUID, once: Idempotent, principal: CurrentPrincipal, context: CurrentContext) -> Response:
    """Mark an own item as read."""

    async def work(tx: AsyncConnection) -> Reply:
        read_now = await mark_read(tx, item_id, principal, context.clock)
        if read_now is None:
            raise not_found("inbox_item")
        item, unread = read_now
        return Reply(201, ReadAnswer(id=item.id, alert_id=item.alert_id, read_at=item.read_at, unread=unread))

    reply = await once.run(context.database, work)
    context.inbox.wake.notify()
    return reply


@router.get("/stream", response_class=EventSourceResponse)
async def stream(
    request: Request, principal: StreamPrincipal, last_event_id: LastEventId, context: CurrentContext
) -> EventSourceResponse:
    """Follow the inboxes that the caller may see: event `inbox_item` with the number of `unread` ones."""
    return await feed_stream(request, feed=context.inbox, principal=principal, last_event_id=last_event_id)


async def _answers(
    context: Context, items: Sequence[InboxItem], alerts: dict[UUID, Alert], rules: dict[UUID, Rule]
) -> list[InboxAnswer]:
    names = await context.names.of({one for alert in alerts.values() for one in references(alert.subject)})
    return [
        InboxAnswer.of(item, alert, render(alert, rules[alert.rule_id].name, item.transition, names))
        for item in items
        if (alert := alerts[item.alert_id])
    ]
