"""Keyset pagination: signed cursors that are bound to their filters, and the Link header."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

import msgspec
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from shared.web.models import Page, Query
from shared.web.problems import Problem

P = TypeVar("P")
T = TypeVar("T")
Filters = Mapping[str, Any] | BaseModel

DEFAULT_LIMIT = 50
LARGEST_LIMIT = 200
SIGNATURE_BYTES = 16


class Pagination(Query):
    """Query parameters of every list; a list's own filters extend it."""

    limit: Annotated[int, Field(ge=1, le=LARGEST_LIMIT, description="Items on a page.")] = DEFAULT_LIMIT
    cursor: Annotated[str | None, Field(max_length=2048, description="`next_cursor` of the page before.")] = None


class Cursors:
    """Writes and reads opaque cursors: where the next page starts, signed together with the filters."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def encode(self, position: Sequence[object], filters: str) -> str:
        """Return the cursor for `position` under `filters`."""
        payload = msgspec.json.encode([hashlib.sha256(filters.encode()).hexdigest()[:16], list(position)])
        return base64.urlsafe_b64encode(self._signature(payload) + payload).rstrip(b"=").decode()

    def decode(self, cursor: str, filters: str) -> list[object]:
        """Return the position; raises 400 `invalid_cursor`, or `cursor_mismatch` when it belongs to other filters."""
        try:
            raw = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        except (binascii.Error, ValueError):
            raise Problem(400, "invalid_cursor") from None
        signature, payload = raw[:SIGNATURE_BYTES], raw[SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._signature(payload)):
            raise Problem(400, "invalid_cursor")
        told, position = msgspec.json.decode(payload, type=tuple[str, list[object]])
        if told != hashlib.sha256(filters.encode()).hexdigest()[:16]:
            raise Problem(400, "cursor_mismatch")
        return position

    def _signature(self, payload: bytes) -> bytes:
        return hmac.digest(self._secret, payload, "sha256")[:SIGNATURE_BYTES]


def read_position(request: Request, cursor: str | None, filters: Filters, kind: type[P]) -> P | None:
    """Return the position in `cursor` as `kind`, e.g. `tuple[datetime, UUID]`; None on the first page. Raises 400."""
    if cursor is None:
        return None
    position = _cursors(request).decode(cursor, _canonical(request, filters))
    try:
        return msgspec.convert(position, kind, strict=False)
    except msgspec.ValidationError:
        raise Problem(400, "invalid_cursor") from None


def page_response(
    request: Request,
    response: Response,
    items: Sequence[T],
    next_position: Sequence[object] | None,
    filters: Filters,
) -> Page[T]:
    """Return the page; with a `next_position`, `response` gets `Link: <...>; rel="next"`."""
    if next_position is None:
        return Page(items=list(items))
    cursor = _cursors(request).encode(next_position, _canonical(request, filters))
    query = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    response.headers["link"] = f'<{request.scope["path"]}?{urlencode([*query, ("cursor", cursor)])}>; rel="next"'
    return Page(items=list(items), next_cursor=cursor)


def _cursors(request: Request) -> Cursors:
    cursors: Cursors = request.app.state.cursors
    return cursors


def _canonical(request: Request, filters: Filters) -> str:
    """Return the filters as one text: a cursor of one list or filter must not be read under another."""
    told = filters.model_dump(mode="json") if isinstance(filters, BaseModel) else dict(filters)
    bound = {name: value for name, value in told.items() if name not in ("limit", "cursor")}
    return str(request.scope["path"]) + msgspec.json.encode(bound, order="sorted").decode()
