"""API keys over HTTP: an admin makes, replaces and takes them back; no key manages keys."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import ConfigDict, Field, JsonValue
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from services.goals.api.context import InContext
from services.goals.domain.api_keys import ApiKey, KeyState, Scope
from services.goals.domain.refusal import Missing
from services.goals.store import api_keys
from services.goals.use_cases.api_keys import MadeKey, NewApiKey, add_key, replace_key, revoke_key
from services.goals.use_cases.context import Context
from shared.auth.principal import Principal
from shared.events.goals import Role
from shared.web.conditions import IfMatch, check_match, etag, require_match
from shared.web.idempotency import Idempotent, IdempotentRequest, Reply, response_of
from shared.web.models import Answer, Body, ExternalId, Page, Rfc3339, ShortText, StrictInt
from shared.web.pagination import Pagination, page_response, read_position
from shared.web.principal import AdminOnly, insufficient_scope

router = APIRouter(tags=["api keys"])

LARGEST_REPORT = 1000
LONGEST_OVERLAP_SECONDS = 30 * 24 * 3600
Make = Callable[[AsyncConnection], Awaitable[MadeKey]]

_EXAMPLE: dict[str, JsonValue] = {
    "name": "CRM connector",
    "role": "admin",
    "scopes": ["pipeline:write", "kpi:read"],
    "expires_at": "2027-12-31T00:00:00Z",
}


async def _key_keeper(principal: AdminOnly) -> Principal:
    # A key that could make keys could give itself what it was not given, and outlive its being taken back.
    if principal.scopes is not None:
        raise insufficient_scope(None)
    return principal


KeyKeeper = Annotated[Principal, Depends(_key_keeper)]


class NewApiKeyBody(Body):
    """A key for a machine; `person` (id or external id) is whom a rep or manager key speaks for."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: ShortText
    role: Role
    person: ExternalId | None = None
    scopes: Annotated[
        list[Scope],
        Field(min_length=1, description="`<service>:read` allows GET and HEAD, `<service>:write` everything."),
    ]
    expires_at: Rfc3339 | None = None

    def to_new(self) -> NewApiKey:
        return NewApiKey(
            name=self.name, role=self.role, person=self.person, scopes=tuple(self.scopes), expires_at=self.expires_at
        )


class RotationBody(Body):
    """How long the old key stays good beside the new one, and when the new one ends."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"overlap_seconds": 86400}]})

    overlap_seconds: Annotated[StrictInt, Field(ge=0, le=LONGEST_OVERLAP_SECONDS)] = 24 * 3600
    expires_at: Rfc3339 | None = None


class ApiKeyAnswer(Answer):
    """A key without its secret; `last_used_at` is exact to about a minute."""

    id: UUID
    name: str
    role: Role
    person: str | None
    scopes: tuple[Scope, ...]
    state: KeyState
    expires_at: Rfc3339 | None
    replaces: UUID | None
    created_by: str
    created_at: Rfc3339
    revoked_at: Rfc3339 | None
    last_used_at: Rfc3339 | None


class NewApiKeyAnswer(ApiKeyAnswer):
    """A new key; `key` is shown this once, and null in the answer to a repeat of the request."""

    key: str | None


class KeyUse(Body):
    """A key and when it was last seen in use."""

    id: UUID
    at: Rfc3339


class KeyUsesBody(Body):
    """What a service tells once a minute."""

    items: Annotated[list[KeyUse], Field(max_length=LARGEST_REPORT)]


def _fields(key: ApiKey, now: datetime) -> dict[str, Any]:
    own = {name: getattr(key, name) for name in ApiKeyAnswer.model_fields if name != "state"}
    return own | {"state": key.state_at(now)}


@router.post("/api-keys", status_code=201, response_model=NewApiKeyAnswer)
async def create(body: NewApiKeyBody, context: InContext, principal: KeyKeeper, once: Idempotent) -> Response:
    """Make a key; its text is in this answer and nowhere else, ever."""
    now = context.clock()

    async def make(tx: AsyncConnection) -> MadeKey:
        return await add_key(tx, body.to_new(), principal.subject, now)

    return await _shown_once(context, once, make, now)


@router.post("/api-keys/{key_id}/rotations", status_code=201, response_model=NewApiKeyAnswer)
async def rotate(
    key_id: UUID,
    body: RotationBody,
    context: InContext,
    principal: KeyKeeper,
    once: Idempotent,
    if_match: IfMatch = None,
) -> Response:
    """Make a key with the same name, role, person and scopes; the old one ends after the overlap."""
    now = context.clock()
    overlap = timedelta(seconds=body.overlap_seconds)

    async def make(tx: AsyncConnection) -> MadeKey:
        return await replace_key(
            tx,
            key_id,
            overlap,
            body.expires_at,
            lambda version: check_match(if_match, version),
            principal.subject,
            now,
        )

    return await _shown_once(context, once, make, now)


async def _shown_once(context: Context, once: IdempotentRequest, make: Make, now: datetime) -> Response:
    """Answer with the key's text, which the stored reply of an Idempotency-Key must not have."""
    shown: list[Response] = []

    async def work(tx: AsyncConnection) -> Reply:
        made = await make(tx)
        fields = _fields(made.key, now)
        headers = {"location": f"/goals/v1/api-keys/{made.key.id}", "etag": etag(made.key.version)}
        whole = NewApiKeyAnswer(**fields, key=made.text).model_dump_json().encode()
        shown.append(response_of(201, headers | {"cache-control": "no-store"}, whole))
        return Reply(201, NewApiKeyAnswer(**fields, key=None), headers)

    stored = await once.run(context.database, work)
    return shown[0] if shown else stored


@router.get("/api-keys", response_model=Page[ApiKeyAnswer])
async def read_page(
    request: Request,
    response: Response,
    query: Annotated[Pagination, Query()],
    context: InContext,
    _principal: KeyKeeper,
) -> Page[ApiKeyAnswer]:
    """List all keys by id, those taken back among them."""
    position = read_position(request, query.cursor, query, tuple[UUID])
    async with context.database.transaction() as tx:
        found = await api_keys.page(tx, after=position[0] if position else None, limit=query.limit + 1)
    now = context.clock()
    shown = found[: query.limit]
    following = [shown[-1].id] if len(found) > query.limit else None
    return page_response(request, response, [ApiKeyAnswer(**_fields(key, now)) for key in shown], following, query)


@router.get("/api-keys/{key_id}", response_model=ApiKeyAnswer)
async def read(response: Response, key_id: UUID, context: InContext, _principal: KeyKeeper) -> ApiKeyAnswer:
    """Read one key."""
    async with context.database.transaction() as tx:
        key = await api_keys.get(tx, key_id)
    if key is None:
        raise Missing("api_key")
    response.headers["etag"] = etag(key.version)
    return ApiKeyAnswer(**_fields(key, context.clock()))


@router.delete("/api-keys/{key_id}", status_code=204)
async def revoke(key_id: UUID, context: InContext, _principal: KeyKeeper, if_match: IfMatch = None) -> None:
    """Take a key back; every service refuses it within seconds."""
    async with context.database.transaction() as tx:
        await revoke_key(tx, key_id, lambda version: require_match(if_match, version), context.clock())


@router.post("/api-key-uses", status_code=204)
async def note_uses(body: KeyUsesBody, context: InContext, _principal: KeyKeeper) -> None:
    """Record when keys were last used; for the services, which see them in use."""
    async with context.database.transaction() as tx:
        await api_keys.note_uses(tx, {use.id: use.at for use in body.items})
