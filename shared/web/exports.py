"""The owner's truth over HTTP: everything behind a topic, paged by stream, each page with complete streams."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Protocol

import msgspec
from fastapi import APIRouter, Query
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from shared.db.engine import Database
from shared.events.codec import Message
from shared.web.models import Page
from shared.web.pagination import page_response, read_position
from shared.web.principal import AdminOnly
from shared.web.problems import not_found

LARGEST_PAGE = 1000
DEFAULT_PAGE = 500


class ExportSource(Protocol):
    """One topic of the service that owns it."""

    async def page(
        self, tx: AsyncConnection, after_stream: str | None, limit: int
    ) -> tuple[Sequence[Message], str | None]:
        """Return the complete messages of up to `limit` streams behind `after_stream`, and where to go on (or None)."""
        ...

    async def after(self, tx: AsyncConnection, stream: str, version: int) -> Sequence[Message]:
        """Return the messages of `stream` behind `version`, in order."""
        ...


class _Item(msgspec.Struct, frozen=True):
    topic: str
    key: str
    headers: Mapping[str, str]
    value: msgspec.Raw


class _Export(msgspec.Struct, frozen=True):
    items: list[_Item]
    next_cursor: str | None


def export_router(sources: Mapping[str, ExportSource]) -> APIRouter:
    """Return the route `GET /exports/{topic}` over a service's `sources`."""
    router = APIRouter(tags=["exports"])

    @router.get("/exports/{topic}", responses={200: {"content": {"application/json": {"schema": _SCHEMA}}}})
    async def read(
        request: Request,
        topic: str,
        _principal: AdminOnly,
        limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="Streams on a page.")] = DEFAULT_PAGE,
        cursor: Annotated[str | None, Query(max_length=2048)] = None,
        stream: Annotated[str | None, Query(max_length=512, description="Only this stream, complete.")] = None,
        after_version: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
    ) -> Response:
        """Everything this service ever announced on a topic, for consumers that are new, rebuilt or out of range."""
        source = sources.get(topic)
        if source is None:
            raise not_found("topic")
        database: Database = request.app.state.database
        async with database.snapshot() as tx:
            if stream is not None:
                return _answer(await source.after(tx, stream, after_version), None)
            position = read_position(request, cursor, {}, tuple[str])
            messages, following = await source.page(tx, position[0] if position else None, limit)
        if following is None:
            return _answer(messages, None)
        headers = Response()
        page: Page[object] = page_response(request, headers, [], [following], {})
        return _answer(messages, page.next_cursor, headers.headers["link"])

    return router


def _answer(messages: Sequence[Message], next_cursor: str | None, link: str | None = None) -> Response:
    # The value goes out byte by byte as it was published.
    items = [_Item(told.topic, told.key, told.headers, msgspec.Raw(told.value)) for told in messages]
    body = msgspec.json.encode(_Export(items, next_cursor))
    return Response(body, media_type="application/json", headers={"link": link} if link else None)


_SCHEMA = {
    "type": "object",
    "required": ["items", "next_cursor"],
    "properties": {
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["topic", "key", "headers", "value"],
                "properties": {
                    "topic": {"type": "string"},
                    "key": {"type": "string"},
                    "headers": {"type": "object", "additionalProperties": {"type": "string"}},
                    "value": {"type": "object"},
                },
            },
        },
        "next_cursor": {"type": ["string", "null"]},
    },
}
