"""A small service with one of everything, built by create_app over a real database."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, File, Form, Query, UploadFile
from pydantic import Field
from sqlalchemy import Column, Integer, Table, Text, insert, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from shared.auth.development_issuer import DevelopmentIssuer
from shared.clock import utc_now
from shared.db.batcher import Overloaded
from shared.db.engine import Database
from shared.db.platform import new_metadata
from shared.events.codec import Message
from shared.settings import Settings
from shared.web.app import create_app
from shared.web.conditions import IfMatch, etag, not_modified, require_match
from shared.web.fast import fast_post, read_body
from shared.web.idempotency import Idempotent, Reply
from shared.web.models import (
    Answer,
    Body,
    Code,
    ExternalId,
    IsoDate,
    LongText,
    MoneyBody,
    NamesBody,
    Page,
    Rfc3339,
    ShortText,
    StrictBool,
    StrictInt,
)
from shared.web.pagination import Pagination, page_response, read_position
from shared.web.principal import AdminOnly, CurrentPrincipal, ManagerOrAdmin, authenticate
from shared.web.problems import not_found
from shared.web.sse import Broadcast, Feed, FeedItem, LastEventId, StreamPrincipal, append_to_feed, feed_stream

metadata = new_metadata()
thing = Table(
    "thing",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("fields", JSONB, nullable=False),
)
TOPIC = "toy.things.v1"


@dataclass
class Context:
    database: Database
    feed: Feed
    wake: Broadcast = field(default_factory=Broadcast)


def context(request: Request) -> Context:
    found: Context = request.app.state.context
    return found


Toy = Annotated[Context, Depends(context)]


class Relative(Body):
    relative_to: Literal["previous_period"]
    factor: Annotated[Decimal, Field(gt=0, max_digits=12, decimal_places=6)]


class ThingBody(Body):
    name: ShortText
    code: Code | None = None
    note: LongText | None = None
    external_id: ExternalId | None = None
    names: NamesBody | None = None
    amount: MoneyBody | None = None
    target: Annotated[str, Field(pattern=r"^[0-9]{1,15}$")] | Relative | None = None
    count: StrictInt | None = None
    done: StrictBool | None = None
    day: IsoDate | None = None
    at: Rfc3339 | None = None
    ids: Annotated[tuple[UUID, ...], Field(max_length=5)] = ()
    fields: dict[str, Any] = Field(default_factory=dict)


class ThingAnswer(Answer):
    id: int
    version: int
    name: str
    at: Rfc3339 | None = None
    amount: MoneyBody | None = None


class ThingQuery(Pagination):
    name: ShortText | None = None
    after: Rfc3339 | None = None
    kind: tuple[Literal["a", "b"], ...] = ()


class MoveBody(Body):
    to_stage: ShortText
    reason: LongText | None = None
    amount: MoneyBody | None = None


class _Money(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    amount: str
    currency: str


class Move(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    to_stage: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    reason: Annotated[str, msgspec.Meta(max_length=10_000)] | None = None
    amount: _Money | None = None


router = APIRouter(tags=["things"])


@router.post("/things", status_code=201, responses={201: {"model": ThingAnswer}})
async def create(body: ThingBody, toy: Toy, _principal: CurrentPrincipal, once: Idempotent) -> Response:
    async def work(tx: AsyncConnection) -> Reply:
        number = (await tx.execute(select(text("count(*)")).select_from(thing))).scalar_one() + 1
        values = {"id": number, "version": 1, "name": body.name, "fields": body.model_dump(mode="json")["fields"]}
        await tx.execute(insert(thing).values(values))
        if body.note == "slow":
            await tx.execute(text("SELECT pg_sleep(0.3)"))
        if body.note == "fail":
            raise not_found("customer")
        answer = ThingAnswer(id=number, version=1, name=body.name, at=body.at, amount=body.amount)
        return Reply(201, answer, {"location": f"/toy/v1/things/{number}", "etag": etag(1)})

    return await once.run(toy.database, work)


@router.get("/things")
async def list_things(
    request: Request, response: Response, toy: Toy, _principal: CurrentPrincipal, query: Annotated[ThingQuery, Query()]
) -> Page[ThingAnswer]:
    position = read_position(request, query.cursor, query, tuple[int])
    async with toy.database.transaction() as tx:
        rows = (
            await tx.execute(
                select(thing)
                .where(thing.c.id > (position[0] if position else 0))
                .order_by(thing.c.id)
                .limit(query.limit + 1)
            )
        ).all()
    items = [ThingAnswer(id=row.id, version=row.version, name=row.name) for row in rows[: query.limit]]
    return page_response(request, response, items, (items[-1].id,) if len(rows) > query.limit else None, query)


@router.get("/things/{thing_id}", response_model=ThingAnswer)
async def read(
    request: Request, response: Response, thing_id: int, toy: Toy, _principal: CurrentPrincipal
) -> ThingAnswer | Response:
    async with toy.database.transaction() as tx:
        row = (await tx.execute(select(thing).where(thing.c.id == thing_id))).first()
    if row is None:
        raise not_found("thing")
    unchanged = not_modified(request, row.version)
    if unchanged is not None:
        return unchanged
    response.headers["etag"] = etag(row.version)
    return ThingAnswer(id=row.id, version=row.version, name=row.name)


@router.patch("/things/{thing_id}")
async def change(
    thing_id: int, body: ThingBody, toy: Toy, _principal: CurrentPrincipal, response: Response, if_match: IfMatch = None
) -> ThingAnswer:
    async with toy.database.transaction() as tx:
        row = (await tx.execute(select(thing).where(thing.c.id == thing_id).with_for_update())).first()
        if row is None:
            raise not_found("thing")
        require_match(if_match, row.version)
        await tx.execute(update(thing).where(thing.c.id == thing_id).values(version=row.version + 1, name=body.name))
    response.headers["etag"] = etag(row.version + 1)
    return ThingAnswer(id=row.id, version=row.version + 1, name=body.name)


@router.get("/people/{person_id}")
async def person(person_id: UUID, _principal: CurrentPrincipal) -> dict[str, str]:
    return {"id": str(person_id)}


@router.get("/named/{name}")
async def named(name: str, toy: Toy, _principal: CurrentPrincipal) -> dict[str, str]:
    async with toy.database.transaction() as tx:
        found = (await tx.execute(select(thing).where(thing.c.name == name))).first()
    if found is None:
        raise not_found("thing")
    return {"name": name}


@router.post("/uploads", status_code=202)
async def upload(
    file: Annotated[UploadFile, File()], kind: Annotated[str, Form()], toy: Toy, once: Idempotent
) -> Response:
    async def work(_tx: AsyncConnection) -> Reply:
        return Reply(202, msgspec.json.encode({"kind": kind, "bytes": len(await file.read())}))

    return await once.run(toy.database, work)


@router.get("/admin")
async def for_admins(_principal: AdminOnly) -> dict[str, str]:
    return {}


@router.get("/managers")
async def for_managers(_principal: ManagerOrAdmin) -> dict[str, str]:
    return {}


@router.post("/feed", status_code=204)
async def tell(body: MoveBody, toy: Toy, _principal: AdminOnly) -> None:
    async with toy.database.transaction() as tx:
        await append_to_feed(tx, toy.feed.name, [FeedItem(body.to_stage, "told", {"reason": body.reason})])
    toy.feed.wake.notify()


@router.get("/stream")
async def stream(request: Request, toy: Toy, principal: StreamPrincipal, last_event_id: LastEventId) -> Response:
    return await feed_stream(request, feed=toy.feed, principal=principal, last_event_id=last_event_id)


@router.get("/broken")
async def broken() -> dict[str, str]:
    raise RuntimeError("secret inside")


@router.get("/busy")
async def busy() -> dict[str, str]:
    raise Overloaded


@router.get("/unreachable")
async def unreachable(toy: Toy) -> dict[str, str]:
    nowhere = Database("postgresql+asyncpg://nobody@127.0.0.1:1/nothing", "toy")
    async with nowhere.transaction() as tx:
        await tx.execute(text("SELECT 1"))
    return {}


_decoder = msgspec.json.Decoder(Move)


async def move(request: Request) -> Response:
    """Move a thing, quickly."""
    principal = await authenticate(request)
    command = await read_body(request, _decoder, MoveBody)
    return Response(
        msgspec.json.encode({"to_stage": command.to_stage, "by": principal.subject, **request.path_params}),
        201,
        media_type="application/json",
    )


fast_post(router, "/things/{thing_id}/moves", move, body=MoveBody, answer=ThingAnswer)


class ThingExport:
    """Each thing is a stream with as many messages as it has versions."""

    async def page(
        self, tx: AsyncConnection, after_stream: str | None, limit: int
    ) -> tuple[Sequence[Message], str | None]:
        after = int(after_stream.removeprefix("thing:")) if after_stream else 0
        rows = (await tx.execute(select(thing).where(thing.c.id > after).order_by(thing.c.id).limit(limit + 1))).all()
        found = [_message(row.id, version) for row in rows[:limit] for version in range(1, row.version + 1)]
        return found, f"thing:{rows[limit - 1].id}" if len(rows) > limit else None

    async def after(self, tx: AsyncConnection, stream: str, version: int) -> Sequence[Message]:
        number = int(told) if (told := stream.removeprefix("thing:")).isascii() and told.isdigit() else 0
        last = (
            await tx.execute(select(thing.c.version).where(thing.c.id == min(number, 10**9)))
        ).scalar_one_or_none() or 0
        return [_message(number, made) for made in range(version + 1, last + 1)]


def _message(number: int, version: int) -> Message:
    value = b'{"version":  %d}' % version
    return Message(TOPIC, f"thing:{number}", {"ce_sequence": str(version)}, value)


def make_app(database: Database, issuer: DevelopmentIssuer, **settings: Any) -> Any:
    """The toy application over `database`, trusting `issuer`."""
    made = Settings.model_validate({"largest_body_bytes": 100_000, "cursor_secret": "toy", **settings})
    wake = Broadcast()
    return create_app(
        "toy",
        title="Toy",
        context=Context(database, Feed(database, "toy", wake), wake),
        database=database,
        verifier=issuer.verifier(),
        clock=utc_now,
        settings=made,
        routers=[router],
        exports={TOPIC: ThingExport()},
    )
