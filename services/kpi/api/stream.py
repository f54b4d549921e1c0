"""`GET /stream`: the present values of KPIs as events, whenever one changes."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from pydantic import Field
from sse_starlette import EventSourceResponse
from starlette.requests import Request

from services.kpi.api.context import InContext
from services.kpi.api.scopes import canonical_scopes
from services.kpi.api.values import Named, unknown_kpis
from services.kpi.use_cases.watching import watch_for_stream
from shared.calendar import Grain
from shared.events.kpi import Watch
from shared.web import models
from shared.web.feeds import FeedEntry
from shared.web.problems import invalid
from shared.web.sse import LastEventId, StreamPrincipal, feed_stream

router = APIRouter(tags=["stream"])


class StreamQuery(models.Query):
    """Which values to hear of: each KPI of each scope in the present period of each grain.

    Without `kpi` whatever is announced anyway, because a goal or a rule depends on it.
    """

    kpi: list[Named] = Field(default_factory=list, max_length=20, description="A key of `GET /definitions`.")
    scope: list[Named] = Field(default_factory=list, max_length=50, description="Yours when left out.")
    grain: list[Grain] = Field(default_factory=list, max_length=6, description="`month` when left out.")
    ticket: str | None = Field(default=None, max_length=200, description="A one-use ticket, instead of a token.")
    last_event_id: str | None = Field(default=None, max_length=64, description="As Last-Event-ID, for a first call.")


@router.get("/stream", response_class=EventSourceResponse)
async def stream_values(
    request: Request,
    query: Annotated[StreamQuery, Query()],
    context: InContext,
    principal: StreamPrincipal,
    last_event_id: LastEventId,
) -> EventSourceResponse:
    """Events named `value`, their data as an item of `GET /values`; their ids continue a stream after a break."""
    if errors := unknown_kpis(query.kpi):
        raise invalid(errors)
    async with context.database.transaction() as tx:
        scopes = await canonical_scopes(tx, principal, query.scope)
        grains: list[Grain] = query.grain or ["month"]
        watches = [
            Watch(kpi=kpi, scope=scope, grain=grain) for kpi in query.kpi for scope in scopes for grain in grains
        ]
        await watch_for_stream(tx, watches, context.clock())
    wanted = _Wanted(frozenset(query.kpi), frozenset(scopes) if query.scope else None, frozenset(query.grain))
    return await feed_stream(
        request, feed=context.feed, principal=principal, last_event_id=last_event_id, accepts=wanted.accepts
    )


class _Period(msgspec.Struct):
    grain: str


class _Told(msgspec.Struct):
    kpi: str
    period: _Period


_told = msgspec.json.Decoder(_Told)


class _Wanted(msgspec.Struct, frozen=True):
    """What a listener asked for; empty means everything it may see."""

    kpis: frozenset[str]
    scopes: frozenset[str] | None
    grains: frozenset[str]

    def accepts(self, entry: FeedEntry) -> bool:
        if self.scopes is not None and entry.scope not in self.scopes:
            return False
        told = _told.decode(entry.data)
        return (not self.kpis or told.kpi in self.kpis) and (not self.grains or told.period.grain in self.grains)
