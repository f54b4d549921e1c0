"""Webhooks: proved, stored, answered; processed afterwards, in the order of their arrival for each deal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.crm import KINDS
from services.pipeline.crm.adapter import NotAuthentic
from services.pipeline.store.sources import Source, sources_by_name
from services.pipeline.store.webhooks import (
    Stored,
    Webhook,
    add_webhooks,
    expire_bodies,
    find_webhook,
    settle_webhooks,
)
from services.pipeline.use_cases.context import Context
from services.pipeline.use_cases.errors import NotFound
from shared.ids import new_id
from shared.tracing import Cause

KEPT_FOR = timedelta(days=30)


class BodyExpired(Exception):  # noqa: N818 - the name of the fact
    """A message whose body is gone cannot be processed again."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it came in, not proved yet; `source` is the name in its address."""

    source: str
    headers: Mapping[str, str]
    body: bytes
    cause: Cause


async def receive_webhooks(context: Context, received: Sequence[Received]) -> Sequence[Stored | Exception]:
    """Store messages durably, in one transaction and in the order of their arrival; each has its own outcome.

    The same message again gives the same id and is not done again. A refusal is NotFound or NotAuthentic.
    """
    async with context.database.transaction() as tx:
        sources = await sources_by_name(tx, {each.source for each in received})
        now = context.clock()
        outcomes = [_prove(sources, each, now) for each in received]
        stored = iter(await add_webhooks(tx, [each for each in outcomes if isinstance(each, Webhook)]))
    context.webhook_received.set()
    return [next(stored) if isinstance(outcome, Webhook) else outcome for outcome in outcomes]


def _prove(sources: Mapping[str, Source], received: Received, now: datetime) -> Webhook | Exception:
    source = sources.get(received.source)
    if source is None:
        return NotFound("source")
    try:
        message_id = KINDS[source.kind].verify(received.headers, received.body, source.secrets, now)
    except NotAuthentic as error:
        return error
    return Webhook(
        id=new_id(),
        source=source.source,
        message_id=message_id,
        body=received.body,
        correlation_id=received.cause.correlation_id,
        traceparent=received.cause.traceparent,
        received_at=now,
    )


async def replay_webhook(tx: AsyncConnection, webhook_id: UUID) -> Webhook:
    """Let a message be processed again, under the mapping of now; raises NotFound and BodyExpired.

    It tells what it told: where it was processed already, nothing comes of it.
    """
    found = await find_webhook(tx, webhook_id, lock=True)
    if found is None:
        raise NotFound("webhook")
    if found.body is None:
        raise BodyExpired
    waiting = msgspec.structs.replace(found, status="received", problems=(), processed_at=None)
    await settle_webhooks(tx, [waiting])
    return waiting


async def expire_old_bodies(context: Context) -> None:
    """Drop raw bodies after 30 days."""
    async with context.database.transaction() as tx:
        await expire_bodies(tx, context.clock() - KEPT_FOR)
