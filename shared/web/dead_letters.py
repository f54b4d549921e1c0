"""Dead letters over HTTP: what this service's consumers could not apply, and trying it again. For admins."""

from collections.abc import Sequence
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from shared.bus.dead_letter_rows import DeadLetter
from shared.bus.dead_letters import UnknownDeadLetter, list_dead_letters, replay, show
from shared.bus.subscription import Subscription
from shared.db.engine import Database
from shared.web.models import Answer, Page, Rfc3339
from shared.web.pagination import Pagination, page_response, read_position
from shared.web.principal import AdminOnly
from shared.web.problems import not_found

router = APIRouter(tags=["dead letters"])


class DeadLetterQuery(Pagination):
    """Filters of the list."""

    group: Annotated[str | None, Field(max_length=200)] = None


class DeadLetterAnswer(Answer):
    """An event that a consumer group could not apply; `value` is its JSON as it came."""

    id: UUID
    group: str
    topic: str
    partition: int
    offset: int
    stream: str | None
    version: int | None
    type: str
    code: str
    error: str
    failed_at: Rfc3339 | None
    replayed_at: Rfc3339 | None
    headers: dict[str, str]
    value: str


class ReplayAnswer(Answer):
    """How trying again ended."""

    result: Literal["applied", "duplicate", "waiting", "failed"]
    error: str | None = None


@router.get("/dead-letters")
async def list_all(
    request: Request, response: Response, _principal: AdminOnly, query: Annotated[DeadLetterQuery, Query()]
) -> Page[DeadLetterAnswer]:
    """The latest first."""
    database: Database = request.app.state.database
    position = read_position(request, query.cursor, query, tuple[UUID])
    async with database.transaction() as tx:
        letters = await list_dead_letters(tx, query.group, query.limit + 1, position[0] if position else None)
    items = [_answer(letter) for letter in letters[: query.limit]]
    following = (items[-1].id,) if len(letters) > query.limit else None
    return page_response(request, response, items, following, query)


@router.get("/dead-letters/{letter_id}")
async def show_one(request: Request, letter_id: UUID, _principal: AdminOnly) -> DeadLetterAnswer:
    """One dead letter with its whole message."""
    database: Database = request.app.state.database
    async with database.transaction() as tx:
        letter = await show(tx, letter_id)
    if letter is None:
        raise not_found("dead_letter")
    return _answer(letter)


@router.post("/dead-letters/{letter_id}/replays", status_code=201)
async def replay_one(request: Request, letter_id: UUID, _principal: AdminOnly) -> ReplayAnswer:
    """Apply the event again, and what waits behind it; a replay of what has been applied changes nothing."""
    database: Database = request.app.state.database
    subscriptions: Sequence[Subscription] = request.app.state.subscriptions
    try:
        done = await replay(database, subscriptions, letter_id)
    except UnknownDeadLetter:
        raise not_found("dead_letter") from None
    return ReplayAnswer(result=done.result, error=done.error)


def _answer(letter: DeadLetter) -> DeadLetterAnswer:
    message = letter.message
    return DeadLetterAnswer(
        id=letter.id,
        group=letter.group,
        topic=message.topic,
        partition=letter.partition,
        offset=letter.offset,
        stream=letter.stream,
        version=letter.version,
        type=letter.type,
        code=letter.code,
        error=letter.error,
        failed_at=letter.failed_at,
        replayed_at=letter.replayed_at,
        headers=dict(message.headers),
        value=message.value.decode("utf-8", "replace"),
    )
