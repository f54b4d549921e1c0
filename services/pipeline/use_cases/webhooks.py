"""Webhooks: proved, stored, answered; processed afterwards, in the order of their arrival for each deal."""

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.crm import KINDS
from services.pipeline.store.sources import find_source
from services.pipeline.store.webhooks import Status, Webhook, add_webhook, expire_bodies, find_webhook, settle_webhooks
from services.pipeline.use_cases.context import Context
from services.pipeline.use_cases.errors import NotFound
from shared.ids import new_id
from shared.tracing import current_cause

KEPT_FOR = timedelta(days=30)


class BodyExpired(Exception):  # noqa: N818 - the name of the fact
    """A message whose body is gone cannot be processed again."""


async def receive_webhook(
    context: Context, source_name: str, headers: Mapping[str, str], body: bytes
) -> tuple[UUID, Status]:
    """Store a message durably and return its id; the same message again gives the same id and is not done again.

    Raises NotFound and NotAuthentic.
    """
    async with context.database.transaction() as tx:
        source = await find_source(tx, source_name)
        if source is None:
            raise NotFound("source")
        message_id = KINDS[source.kind].verify(headers, body, source.secrets, context.clock())
        cause = current_cause()
        stored = await add_webhook(
            tx,
            Webhook(
                id=new_id(),
                source=source_name,
                message_id=message_id,
                body=body,
                correlation_id=cause.correlation_id,
                traceparent=cause.traceparent,
                received_at=context.clock(),
            ),
        )
    context.webhook_received.set()
    return stored


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
