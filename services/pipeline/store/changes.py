"""The one write of deals: HTTP, webhooks, imports and timers all change deals through `write_changes`."""

from collections.abc import Sequence

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.deal import DealChange
from shared.db.engine import mark_outbox_written
from shared.db.statements import Statement
from shared.events.codec import encode
from shared.events.pipeline import DEALS
from shared.tracing import Cause, current_cause

UNIQUE_VIOLATION = "23505"
_encoder = msgspec.json.Encoder()

# ORDER BY key, version: id order in the outbox must be version order for each deal.
_WRITE = Statement(
    """
    WITH deals AS (
        SELECT * FROM json_to_recordset(CAST(CAST($1 AS text) AS json)) AS d (
            id uuid, version bigint, name text, process text, process_version int, stage json, status text, owner text,
            customer_id uuid, amount bigint, currency text, product text, source text, external_id text,
            expected_close_on date, lost_reason text, fields jsonb, visit int, stage_entered_at timestamptz,
            sla_due_at timestamptz, sla_breached boolean, closed_at timestamptz, created_at timestamptz,
            updated_at timestamptz)
    ), written_deals AS (
        INSERT INTO deal (
            id, version, name, process, process_version, stage, stage_kind, stage_order, status, owner, customer_id,
            amount, currency, product, source, external_id, expected_close_on, lost_reason, fields, visit,
            stage_entered_at, sla_due_at, sla_breached, closed_at, created_at, updated_at)
        SELECT
            id, version, name, process, process_version, stage->>'code', stage->>'kind', (stage->>'order')::int, status,
            owner, customer_id, amount, currency, product, source, external_id, expected_close_on, lost_reason, fields,
            visit, stage_entered_at, sla_due_at, sla_breached, closed_at, created_at, updated_at
        FROM deals
        ON CONFLICT (id) DO UPDATE SET
            version = excluded.version, name = excluded.name, process = excluded.process,
            process_version = excluded.process_version, stage = excluded.stage, stage_kind = excluded.stage_kind,
            stage_order = excluded.stage_order, status = excluded.status, owner = excluded.owner,
            customer_id = excluded.customer_id, amount = excluded.amount, currency = excluded.currency,
            product = excluded.product, source = excluded.source, external_id = excluded.external_id,
            expected_close_on = excluded.expected_close_on, lost_reason = excluded.lost_reason,
            fields = excluded.fields, visit = excluded.visit, stage_entered_at = excluded.stage_entered_at,
            sla_due_at = excluded.sla_due_at, sla_breached = excluded.sla_breached, closed_at = excluded.closed_at,
            updated_at = excluded.updated_at
    ), messages AS (
        SELECT deal_id, version, key, headers::jsonb AS headers, value, reason FROM unnest(
            CAST($3 AS uuid[]), CAST($4 AS bigint[]), CAST($5 AS text[]), CAST($6 AS text[]),
            CAST($7 AS bytea[]), CAST($8 AS text[])) AS m (deal_id, version, key, headers, value, reason)
    ), written_history AS (
        INSERT INTO deal_history (deal_id, version, headers, value, reason)
        SELECT deal_id, version, headers, value, reason FROM messages
    ), written_tasks AS (
        INSERT INTO task (
            id, deal_id, stage, visit, code, name, title, mandatory, status, owner, due_at, done_at, result, version,
            created_at, updated_at)
        SELECT * FROM json_to_recordset(CAST(CAST($2 AS text) AS json)) AS t (
            id uuid, deal_id uuid, stage text, visit int, code text, name jsonb, title text, mandatory boolean,
            status text, owner text, due_at timestamptz, done_at timestamptz, result jsonb, version bigint,
            created_at timestamptz, updated_at timestamptz)
        ON CONFLICT (id) DO UPDATE SET
            title = excluded.title, status = excluded.status, owner = excluded.owner, due_at = excluded.due_at,
            done_at = excluded.done_at, result = excluded.result, version = excluded.version,
            updated_at = excluded.updated_at
    )
    INSERT INTO outbox (topic, key, headers, value)
    SELECT CAST($9 AS text), key, headers, value FROM messages ORDER BY key, version
    """
)


async def write_changes(
    tx: AsyncConnection, changes: Sequence[DealChange], causes: Sequence[Cause] | None = None
) -> None:
    """Write deals, history, tasks and outbox rows of `changes` (each deal once) in one statement.

    The caller holds the row locks of the deals that exist. Each change is caused by its own of `causes`, by default by
    the current one. Raises MessageTooLarge before anything is written, and IntegrityError when an external id or a
    version is taken.
    """
    if not changes:
        return
    because = causes or [current_cause()] * len(changes)
    told = [
        (change, event, encode(event, cause))
        for change, cause in zip(changes, because, strict=True)
        for event in change.events
    ]
    await _WRITE.execute(
        tx,
        _encoder.encode([change.deal for change in changes]).decode(),
        _encoder.encode([task for change in changes for task in change.tasks]).decode(),
        [event.deal_id for _, event, _ in told],
        [event.version for _, event, _ in told],
        [message.key for *_, message in told],
        [_encoder.encode(message.headers).decode() for *_, message in told],
        [message.value for *_, message in told],
        [(change.reasons or {}).get(event.version) for change, event, _ in told],
        DEALS,
    )
    mark_outbox_written(tx)
