"""Inbound webhooks over HTTP: received from sources by their signature, looked at and replayed by administrators."""

from base64 import b64encode
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Query, Response
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request

from services.pipeline.api.context import ApiContext, CurrentContext
from services.pipeline.api.intake import AcceptedAnswer
from services.pipeline.crm.adapter import NotAuthentic
from services.pipeline.store.webhooks import Status, Webhook, find_webhook, list_webhooks
from services.pipeline.use_cases.errors import NotFound
from services.pipeline.use_cases.webhooks import BodyExpired, Received, replay_webhook
from shared.language import Language, Text, negotiate
from shared.tracing import current_cause
from shared.web.fast import FastRoute
from shared.web.idempotency import Idempotent, Reply
from shared.web.models import Answer, Page, Rfc3339
from shared.web.pagination import Pagination, page_response, read_position
from shared.web.principal import AdminOnly
from shared.web.problems import Problem, conflict

router = APIRouter(tags=["webhooks"])

# Standard Webhooks asks senders to stay below 20 kB.
LARGEST_BODY_BYTES = 1024 * 1024
_UNSIGNED: Text = {"zh": "签名无效、缺失或已过期。", "en": "The signature is wrong, missing or too old."}
_EXPIRED: Text = {"zh": "原始内容已过期删除，无法重放。", "en": "The raw body has expired: it cannot be replayed."}


class ReasonAnswer(Answer):
    """Why a webhook is in quarantine: a stable code, where in the body, and a text in the caller's language."""

    code: str
    where: str | None
    detail: str


class WebhookAnswer(Answer):
    """A message of a source; `deal_id` and `occurred_at` are known once it is processed."""

    id: UUID
    source: str
    message_id: str
    status: Status
    reasons: list[ReasonAnswer]
    external_id: str | None
    deal_id: UUID | None
    occurred_at: Rfc3339 | None
    received_at: Rfc3339
    processed_at: Rfc3339 | None

    @classmethod
    def of(cls, webhook: Webhook, language: Language, **more: object) -> Self:
        names = (name for name in WebhookAnswer.model_fields if name != "reasons")
        reasons = [
            ReasonAnswer(code=problem.code, where=problem.where, detail=problem.told_in(language))
            for problem in webhook.problems
        ]
        return cls(reasons=reasons, **{name: getattr(webhook, name) for name in names}, **more)


class WebhookBodyAnswer(WebhookAnswer):
    """A message with its raw body: text where it is UTF-8, Base64 otherwise; null when it has expired."""

    body: str | None
    body_encoding: Literal["utf-8", "base64"]

    @classmethod
    def with_body(cls, webhook: Webhook, language: Language) -> Self:
        raw = webhook.body
        try:
            return cls.of(webhook, language, body=None if raw is None else raw.decode(), body_encoding="utf-8")
        except UnicodeDecodeError:
            return cls.of(webhook, language, body=b64encode(raw or b"").decode(), body_encoding="base64")


async def post_webhook(request: Request) -> Response:
    """Receive a message of a source; 202 as soon as it is stored durably, and again for a repeat of the same id.

    It is authenticated by its signature (Standard Webhooks) and needs no token. The body is
    `{"type": "deal.created" | "deal.updated" | "deal.moved" | "deal.stage_changed", "timestamp", "data": {...}}`;
    `data` has `external_id` and any of `name, process, stage, owner, amount, customer, product, lost_reason,
    expected_close_on, occurred_at, fields`. The deal is created where it is unknown, and moved where its stage differs:
    what already happened is recorded, with the criteria it broke. What cannot be processed waits in quarantine.
    """
    context: ApiContext = request.app.state.context
    body = await _limited_body(request)
    received = Received(request.path_params["source"], request.headers, body, current_cause())
    try:
        # No message waits for another: repeats of one are told apart by the database.
        webhook_id, status = await context.webhooks.submit(object(), received)
    except NotAuthentic:
        raise Problem(401, "signature_invalid", _UNSIGNED) from None
    answer = AcceptedAnswer(id=webhook_id, status=status)
    return Response(answer.model_dump_json(), 202, media_type="application/json")


async def _limited_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY_BYTES:
            raise Problem(413, "body_too_large")
    return bytes(body)


def _header(name: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": True, "schema": {"type": "string"}}


_BODY_EXAMPLE = {
    "type": "deal.moved",
    "timestamp": "2026-11-23T09:00:00Z",
    "data": {
        "external_id": "opp-17",
        "name": "Pumps for the harbour",
        "stage": "quote",
        "owner": "anna.snelling",
        "amount": {"amount": "128000.00", "currency": "CNY"},
        "customer": {"external_id": "acme", "name": "Acme"},
    },
}

router.add_api_route(
    "/webhooks/{source}",
    post_webhook,
    methods=["POST"],
    status_code=202,
    responses={202: {"model": AcceptedAnswer}},
    response_model=None,
    route_class_override=FastRoute,
    openapi_extra={
        "security": [],
        "parameters": [
            {"name": "source", "in": "path", "required": True, "schema": {"type": "string"}},
            *map(_header, ("webhook-id", "webhook-timestamp", "webhook-signature")),
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object"}, "example": _BODY_EXAMPLE}},
        },
    },
)


class WebhookQuery(Pagination):
    """Filters of the list of webhooks."""

    source: str | None = None
    status: Status | None = None


@router.get("/webhooks")
async def read_webhooks(
    request: Request,
    response: Response,
    query: Annotated[WebhookQuery, Query()],
    context: CurrentContext,
    _who: AdminOnly,
) -> Page[WebhookAnswer]:
    """List webhooks, the newest first."""
    before = read_position(request, query.cursor, query, tuple[int])
    async with context.database.snapshot() as tx:
        found = await list_webhooks(tx, query.source, query.status, before[0] if before else None, query.limit + 1)
    shown = found[: query.limit]
    more = (shown[-1].seq,) if len(found) > query.limit else None
    language = _language(request)
    return page_response(request, response, [WebhookAnswer.of(each, language) for each in shown], more, query)


@router.get("/webhooks/{webhook_id}")
async def read_webhook(
    webhook_id: UUID, request: Request, context: CurrentContext, _who: AdminOnly
) -> WebhookBodyAnswer:
    """Read one webhook with its raw body."""
    async with context.database.snapshot() as tx:
        found = await find_webhook(tx, webhook_id)
    if found is None:
        raise NotFound("webhook")
    return WebhookBodyAnswer.with_body(found, _language(request))


@router.post("/webhooks/{webhook_id}/replay", status_code=202, response_model=AcceptedAnswer)
async def post_replay(webhook_id: UUID, context: CurrentContext, _who: AdminOnly, once: Idempotent) -> Response:
    """Process a webhook again, under the mapping of now; what it told already is not done twice."""

    async def work(tx: AsyncConnection) -> Reply:
        try:
            webhook = await replay_webhook(tx, webhook_id)
        except BodyExpired:
            raise conflict("body_expired", _EXPIRED) from None
        return Reply(202, AcceptedAnswer(id=webhook.id, status=webhook.status))

    response = await once.run(context.database, work)
    context.webhook_received.set()
    return response


def _language(request: Request) -> Language:
    return negotiate(request.headers.get("accept-language"))
