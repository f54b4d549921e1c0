"""Channels over HTTP; secrets go in and never come out, but for one that was made here, once."""

from dataclasses import replace
from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import ConfigDict, SecretStr, StringConstraints
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from services.notify.api.context import Context, CurrentContext
from services.notify.domain.channel import Channel
from services.notify.domain.delivery import ChannelKind
from services.notify.store import channels as channel_store
from services.notify.use_cases.channels import change_channel, check_target, create_channel, delete_channel
from shared.auth.principal import Principal
from shared.events.base import Names
from shared.web.conditions import IfMatch, etag, not_modified, require_match
from shared.web.idempotency import Idempotent, Reply
from shared.web.models import Answer, Body, NamesBody, Page, Rfc3339, ShortText, StrictBool
from shared.web.pagination import Pagination, page_response, read_position
from shared.web.principal import ManagerOrAdmin
from shared.web.problems import forbidden, not_found

router = APIRouter(tags=["channels"])

Url = Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class ChannelBody(Body):
    """A channel to be made. A webhook needs `url`; without `secret` one is made and shown in the answer, once."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"kind": "webhook", "name": "CRM", "url": "https://hooks.example.com/sales"}]}
    )

    kind: ChannelKind
    name: ShortText | NamesBody | None = None
    url: Url | None = None
    secret: SecretStr | None = None


class ChannelPatch(Body):
    """What is to be changed of a channel; `enabled: true` takes a disabled one up again."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"enabled": True}]})

    name: ShortText | NamesBody | None = None
    url: Url | None = None
    secret: SecretStr | None = None
    enabled: StrictBool | None = None


class ChannelAnswer(Answer):
    """A channel as it stands, without its secret."""

    id: UUID
    kind: ChannelKind
    name: str | NamesBody | None
    url: str | None
    enabled: bool
    disabled_reason: str | None
    created_by: str
    created_at: Rfc3339
    version: int

    @classmethod
    def of(cls, channel: Channel) -> Self:
        name = channel.name
        return cls(
            id=channel.id,
            kind=channel.kind,
            name=NamesBody(zh=name.zh, en=name.en) if isinstance(name, Names) else name,
            url=channel.url,
            enabled=channel.enabled,
            disabled_reason=channel.disabled_reason,
            created_by=channel.created_by,
            created_at=channel.created_at,
            version=channel.version,
        )


class CreatedChannelAnswer(ChannelAnswer):
    """A new channel; `secret` is there when it was made here, and is never shown again."""

    secret: str | None = None


@router.post("/channels", status_code=201, response_model=CreatedChannelAnswer)
async def create(body: ChannelBody, once: Idempotent, principal: ManagerOrAdmin, context: CurrentContext) -> Response:
    """Make a channel. A URL that leads into a private network is refused, here and before every attempt."""
    secret = _secret(body.secret)
    await check_target(context.adapters, body.kind, body.url, secret)

    async def work(tx: AsyncConnection) -> Reply:
        channel = await create_channel(tx, body.kind, _names(body.name), (body.url, secret), principal, context.clock())
        answer = CreatedChannelAnswer.of(channel)
        if secret is None:
            answer = answer.model_copy(update={"secret": channel.secret})
        headers = {"location": f"/notify/v1/channels/{channel.id}", "etag": etag(channel.version)}
        return Reply(201, answer, headers)

    return await once.run(context.database, work)


@router.get("/channels")
async def read_all(
    request: Request,
    response: Response,
    page: Annotated[Pagination, Query()],
    _principal: ManagerOrAdmin,
    context: CurrentContext,
) -> Page[ChannelAnswer]:
    """List the organisation's channels, the newest first."""
    after = read_position(request, page.cursor, page, tuple[UUID])
    async with context.database.transaction() as tx:
        channels = await channel_store.page(tx, after[0] if after else None, page.limit + 1)
    shown = [ChannelAnswer.of(channel) for channel in channels[: page.limit]]
    following = [channels[page.limit - 1].id] if len(channels) > page.limit else None
    return page_response(request, response, shown, following, page)


@router.get("/channels/{channel_id}", response_model=ChannelAnswer)
async def read(
    request: Request, response: Response, channel_id: UUID, _principal: ManagerOrAdmin, context: CurrentContext
) -> ChannelAnswer | Response:
    """Read one channel."""
    channel = await _channel(context, channel_id)
    response.headers["etag"] = etag(channel.version)
    return not_modified(request, channel.version) or ChannelAnswer.of(channel)


@router.patch("/channels/{channel_id}")
async def change(
    response: Response,
    channel_id: UUID,
    body: ChannelPatch,
    principal: ManagerOrAdmin,
    context: CurrentContext,
    if_match: IfMatch = None,
) -> ChannelAnswer:
    """Change a channel; a manager only the own ones."""
    known = await _channel(context, channel_id)
    _may_change(known, principal)
    require_match(if_match, known.version)
    secret = _secret(body.secret)
    if body.url is not None or secret is not None:
        await check_target(context.adapters, known.kind, body.url or known.url, secret)

    def apply(channel: Channel) -> Channel:
        require_match(if_match, channel.version)
        enabled = channel.enabled if body.enabled is None else body.enabled
        return replace(
            channel,
            name=_names(body.name) if "name" in body.model_fields_set else channel.name,
            url=body.url or channel.url,
            secret=secret or channel.secret,
            enabled=enabled,
            disabled_reason=None if enabled else channel.disabled_reason,
        )

    async with context.database.transaction() as tx:
        changed = await change_channel(tx, channel_id, apply)
    if changed is None:
        raise not_found("channel")
    response.headers["etag"] = etag(changed.version)
    return ChannelAnswer.of(changed)


@router.delete("/channels/{channel_id}", status_code=204)
async def delete(
    channel_id: UUID, principal: ManagerOrAdmin, context: CurrentContext, if_match: IfMatch = None
) -> Response:
    """Remove a channel that no rule sends to; a manager only the own ones."""

    def check(channel: Channel) -> None:
        _may_change(channel, principal)
        require_match(if_match, channel.version)

    async with context.database.transaction() as tx:
        gone = await delete_channel(tx, channel_id, check)
    if not gone:
        raise not_found("channel")
    return Response(status_code=204)


async def _channel(context: Context, channel_id: UUID) -> Channel:
    async with context.database.transaction() as tx:
        channel = await channel_store.find(tx, channel_id)
    if channel is None:
        raise not_found("channel")
    return channel


def _may_change(channel: Channel, principal: Principal) -> None:
    if not principal.is_admin and channel.created_by != principal.subject:
        raise forbidden()


def _secret(told: SecretStr | None) -> str | None:
    return None if told is None else told.get_secret_value()


def _names(name: str | NamesBody | None) -> str | Names | None:
    return Names(name.zh, name.en) if isinstance(name, NamesBody) else name
