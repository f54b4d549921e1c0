"""Inbound webhooks in the database: durable before they are answered, each message once."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from sqlalchemy import Row, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.import_problems import Problem
from services.pipeline.store.tables import crm_source, webhook
from shared.db.statements import Statement

Status = Literal["received", "processed", "quarantined"]
Stored = tuple[UUID, Status]
"""The id of a stored message, and what has become of it so far."""


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a source; `seq` is its place in the order of arrival, `body` is null when it has expired.

    `external_id`, `deal_id` and `occurred_at` are known once it is processed.
    """

    id: UUID
    seq: int = 0
    source: str
    message_id: str
    status: Status = "received"
    body: bytes | None
    problems: tuple[Problem, ...] = ()
    external_id: str | None = None
    deal_id: UUID | None = None
    occurred_at: datetime | None = None
    correlation_id: str
    traceparent: str
    received_at: datetime
    processed_at: datetime | None = None


def _to_webhook(row: Row[Any]) -> Webhook:
    values = dict(row._mapping)
    return Webhook(**{**values, "problems": tuple(msgspec.convert(values["problems"], list[Problem]))})


# `seq` is given behind the sort: the order of arrival.
_ADD = Statement(
    """
    INSERT INTO webhook (id, source, message_id, status, body, problems, correlation_id, traceparent, received_at)
    SELECT id, source, message_id, 'received', body, '[]', correlation_id, traceparent, received_at
    FROM unnest(CAST($1 AS uuid[]), CAST($2 AS text[]), CAST($3 AS text[]), CAST($4 AS bytea[]), CAST($5 AS text[]),
                CAST($6 AS text[]), CAST($7 AS timestamptz[])) WITH ORDINALITY
         AS n (id, source, message_id, body, correlation_id, traceparent, received_at, place)
    ORDER BY place
    ON CONFLICT (source, message_id) DO NOTHING
    """
)
_KNOWN = Statement(
    """
    SELECT source, message_id, id, status
    FROM webhook JOIN unnest(CAST($1 AS text[]), CAST($2 AS text[])) AS n (source, message_id)
         USING (source, message_id)
    """
)


async def add_webhooks(tx: AsyncConnection, new: Sequence[Webhook]) -> Sequence[Stored]:
    """Store messages that were just received, in their order; in place of one that its source sent before, that one."""
    if not new:
        return ()
    columns = (
        [each.id for each in new],
        [each.source for each in new],
        [each.message_id for each in new],
        [each.body for each in new],
        [each.correlation_id for each in new],
        [each.traceparent for each in new],
        [each.received_at for each in new],
    )
    if await _ADD.execute(tx, *columns) == len(new):
        return [(each.id, each.status) for each in new]
    known = {
        (source, message_id): (webhook_id, status)
        for source, message_id, webhook_id, status in await _KNOWN.fetch(tx, columns[1], columns[2])
    }
    return [known[each.source, each.message_id] for each in new]


async def lock_received(tx: AsyncConnection, limit: int) -> Sequence[Webhook]:
    """Lock the oldest messages that wait, in the order in which they arrived; those of paused sources are left."""
    active = select(crm_source.c.source).where(crm_source.c.mode != "paused")
    statement = (
        select(webhook)
        .where(webhook.c.status == "received", webhook.c.source.in_(active))
        .order_by(webhook.c.seq)
        .limit(limit)
        .with_for_update()
    )
    return [_to_webhook(row) for row in await tx.execute(statement)]


async def newest_told(tx: AsyncConnection, source: str, external_ids: Collection[str]) -> Mapping[str, datetime]:
    """Return, for each deal of a source, when the newest thing happened that a processed message has told."""
    statement = (
        select(webhook.c.external_id, func.max(webhook.c.occurred_at).label("at"))
        .where(webhook.c.status == "processed", webhook.c.source == source, webhook.c.external_id.in_(external_ids))
        .group_by(webhook.c.external_id)
    )
    return {row.external_id: row.at for row in await tx.execute(statement) if row.at}


_SETTLE = text(
    """
    UPDATE webhook SET status = settled.status, problems = settled.problems, external_id = settled.external_id,
        deal_id = settled.deal_id, occurred_at = settled.occurred_at, processed_at = settled.processed_at
    FROM json_to_recordset(CAST(:webhooks AS json)) AS settled (
        id uuid, status text, problems jsonb, external_id text, deal_id uuid, occurred_at timestamptz,
        processed_at timestamptz)
    WHERE webhook.id = settled.id
    """
)


async def settle_webhooks(tx: AsyncConnection, webhooks: Sequence[Webhook]) -> None:
    """Write what became of locked messages."""
    if webhooks:
        told = ("id", "status", "problems", "external_id", "deal_id", "occurred_at", "processed_at")
        rows = [{name: getattr(each, name) for name in told} for each in webhooks]
        await tx.execute(_SETTLE, {"webhooks": msgspec.json.encode(rows).decode()})


async def find_webhook(tx: AsyncConnection, webhook_id: UUID, *, lock: bool = False) -> Webhook | None:
    """Return a message by our id."""
    statement = select(webhook).where(webhook.c.id == webhook_id)
    row = (await tx.execute(statement.with_for_update() if lock else statement)).one_or_none()
    return None if row is None else _to_webhook(row)


async def list_webhooks(
    tx: AsyncConnection, source: str | None, status: Status | None, before: int | None, limit: int
) -> Sequence[Webhook]:
    """Return messages, the newest first, behind the one whose `seq` is `before`."""
    statement = select(webhook).order_by(webhook.c.seq.desc()).limit(limit)
    if source is not None:
        statement = statement.where(webhook.c.source == source)
    if status is not None:
        statement = statement.where(webhook.c.status == status)
    if before is not None:
        statement = statement.where(webhook.c.seq < before)
    return [_to_webhook(row) for row in await tx.execute(statement)]


async def expire_bodies(tx: AsyncConnection, before: datetime) -> int:
    """Drop the bodies of messages that were received before, also those that were never processed."""
    old = update(webhook).where(webhook.c.received_at < before, webhook.c.body.is_not(None)).values(body=None)
    return (await tx.execute(old)).rowcount
