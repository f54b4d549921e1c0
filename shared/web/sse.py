"""Event streams over feeds: replay by Last-Event-ID, row scope on every entry, heartbeats, a quick end at shutdown."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Annotated

import anyio
from fastapi import Depends, Header, Query
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request

from shared.auth.api_keys import still_good
from shared.auth.directory import EXTERNAL, visible
from shared.auth.principal import Principal
from shared.clock import utc_now
from shared.db.engine import Database
from shared.metrics import SSE_CLIENTS
from shared.web.feeds import (
    PAGE,
    POLL_SECONDS,
    Broadcast,
    Feed,
    FeedEntry,
    FeedItem,
    append_to_feed,
    forget_old_entries,
)
from shared.web.problems import Problem
from shared.web.stream_tickets import StreamPrincipal

__all__ = [
    "Broadcast",
    "Feed",
    "FeedItem",
    "LastEventId",
    "StreamPrincipal",
    "append_to_feed",
    "feed_stream",
    "forget_old_entries",
]

RETRY_MILLISECONDS = 3000
HEARTBEAT_SECONDS = 15
SEND_SECONDS = 30
# Who may see what is asked again from time to time, and a stream ends in the end: tokens expire, people change teams.
SIGHT_SECONDS = 30.0
LONGEST_SECONDS = 3600.0
# A stream looks this often whether the server ends, and then ends by itself: cut off, it would be a broken answer.
END_SECONDS = POLL_SECONDS + 1.0
NOT_A_NUMBER = -1

Sight = Callable[[str], bool]


async def _last_event_id(
    header: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
    last_event_id: Annotated[
        str | None, Query(max_length=64, description="As Last-Event-ID, for a first call.")
    ] = None,
) -> int | None:
    told = header if header is not None else last_event_id
    if told is None or told == "":
        return None
    return int(told) if told.isascii() and told.isdigit() and len(told) < 19 else NOT_A_NUMBER  # noqa: PLR2004


LastEventId = Annotated[int | None, Depends(_last_event_id)]


def _everything(_entry: FeedEntry) -> bool:
    return True


async def feed_stream(
    request: Request,
    *,
    feed: Feed,
    principal: Principal,
    last_event_id: int | None,
    accepts: Callable[[FeedEntry], bool] = _everything,
) -> EventSourceResponse:
    """Return the stream of the entries of `feed` that `principal` may see, behind `last_event_id` (None: from now).

    Only entries that `accepts` lets through are told: what this listener asked for.
    Event `reset` tells that entries were missed (older than what is kept): read the present state again and go on.
    """
    database: Database = request.app.state.database
    start, missed = await feed.start_of(last_event_id)
    listener = _Listener(database, feed, principal, start, accepts)
    sight = await _sight_of(database, principal)
    if sight is None:
        raise Problem(401, "token_invalid", headers={"www-authenticate": 'Bearer error="invalid_token"'})
    listener.sight = sight
    return EventSourceResponse(
        listener.events(request.app.state.name, missed=missed),
        ping=HEARTBEAT_SECONDS,
        ping_message_factory=listener.heartbeat,
        send_timeout=SEND_SECONDS,
        sep="\n",
        shutdown_event=listener.ending,
        shutdown_grace_period=END_SECONDS,
    )


@dataclass
class _Listener:
    """One open stream: how far it is and what it may see."""

    database: Database
    feed: Feed
    principal: Principal
    seq: int
    accepts: Callable[[FeedEntry], bool]
    sight: Sight = field(default=lambda _scope: False)
    ending: anyio.Event = field(default_factory=anyio.Event)

    def heartbeat(self) -> ServerSentEvent:
        """Tell how far the listener is, so that entries it must not see do not make it start from afar."""
        return ServerSentEvent(comment="ping", id=str(self.seq), sep="\n")

    async def events(self, service: str, *, missed: bool) -> AsyncIterator[ServerSentEvent]:
        with SSE_CLIENTS.labels(service, self.feed.name).track_inprogress():
            yield ServerSentEvent(comment="open", retry=RETRY_MILLISECONDS, id=str(self.seq))
            if missed:
                yield ServerSentEvent(event="reset", id=str(self.seq), data='{"reason":"too_old"}')
            async for entry in self._followed():
                yield entry

    async def _followed(self) -> AsyncIterator[ServerSentEvent]:
        end = monotonic() + LONGEST_SECONDS
        look_again = monotonic() + SIGHT_SECONDS
        while monotonic() < end and not self.ending.is_set():
            if monotonic() > look_again:
                sight, look_again = await _sight_of(self.database, self.principal), monotonic() + SIGHT_SECONDS
                if sight is None:
                    return
                self.sight = sight
            woken = self.feed.wake.listen()
            entries = await self.feed.after(self.seq)
            for entry in entries:
                self.seq = entry.seq
                if self.sight(entry.scope) and self.accepts(entry):
                    yield ServerSentEvent(event=entry.event, id=str(entry.seq), data=entry.data)
            if len(entries) < PAGE:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), POLL_SECONDS)


async def _sight_of(database: Database, principal: Principal) -> Sight | None:
    """Return which scopes of entries `principal` may hear; None once its API key has ended."""
    async with database.transaction() as tx:
        if not await still_good(tx, principal, utc_now()):
            return None
        sight = await visible(tx, principal)
    if sight.everything:
        return lambda _scope: True
    persons = {f"person:{key}" for key in sight.owner_keys}
    persons |= {f"person:{key.removeprefix(EXTERNAL)}" for key in sight.owner_keys}
    scopes = persons | {f"team:{team_id}" for team_id in sight.team_ids}
    return scopes.__contains__
