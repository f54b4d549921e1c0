"""One-use tickets for EventSource, which cannot send an Authorization header."""

import hashlib
import secrets
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from sqlalchemy import text
from starlette.requests import Request

from shared.auth.principal import Principal
from shared.clock import Clock
from shared.db.engine import Database
from shared.web.models import Answer, Rfc3339
from shared.web.principal import CurrentPrincipal, authenticate, remember_principal
from shared.web.problems import Problem

LIFETIME = timedelta(seconds=60)

router = APIRouter(tags=["streams"])

# Tickets that nobody used go with the next one that is made.
_FORGET = text("DELETE FROM stream_ticket WHERE expires_at < :now")
_MAKE = text(
    """
    INSERT INTO stream_ticket (digest, principal, expires_at)
    VALUES (:digest, jsonb_build_object('subject', CAST(:subject AS text), 'role', CAST(:role AS text),
                                        'person', CAST(:person AS text)), :expires_at)
    """
)
_REDEEM = text("DELETE FROM stream_ticket WHERE digest = :digest RETURNING principal, expires_at")


class TicketAnswer(Answer):
    """A ticket for `?ticket=`; it opens one stream within 60 s."""

    ticket: str
    expires_at: Rfc3339


@router.post("/stream-tickets", status_code=201)
async def create(request: Request, principal: CurrentPrincipal) -> TicketAnswer:
    """Make a one-use ticket of 60 seconds that opens an event stream as the caller."""
    database: Database = request.app.state.database
    clock: Clock = request.app.state.clock
    now = clock()
    ticket = secrets.token_urlsafe(32)
    row = {
        "digest": _digest(ticket),
        "subject": principal.subject,
        "role": principal.role,
        "person": principal.person,
        "expires_at": now + LIFETIME,
    }
    async with database.transaction() as tx:
        await tx.execute(_FORGET, {"now": now})
        await tx.execute(_MAKE, row)
    return TicketAnswer(ticket=ticket, expires_at=now + LIFETIME)


async def redeem(request: Request, ticket: str) -> Principal:
    """Return whom `ticket` was made for and use it up; raises 401."""
    database: Database = request.app.state.database
    clock: Clock = request.app.state.clock
    async with database.transaction() as tx:
        row = (await tx.execute(_REDEEM, {"digest": _digest(ticket)})).first()
    if row is None or row.expires_at <= clock():
        raise Problem(401, "ticket_invalid", headers={"www-authenticate": "Bearer"})
    principal = Principal(row.principal["subject"], row.principal["role"], row.principal["person"])
    remember_principal(request, principal)
    return principal


async def _stream_principal(
    request: Request,
    ticket: Annotated[
        str | None, Query(max_length=200, description="A one-use ticket, instead of the Authorization header.")
    ] = None,
) -> Principal:
    return await authenticate(request) if ticket is None else await redeem(request, ticket)


StreamPrincipal = Annotated[Principal, Depends(_stream_principal)]


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode("utf-8", "replace")).digest()
