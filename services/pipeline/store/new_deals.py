"""New deals, many at once: COPY, which costs the driver and the database less than the statement for any change.

COPY knows no conflict: it is only for deals that nobody can have seen yet.
"""

from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.deal import Deal, DealChange, Task
from services.pipeline.store.tables import deal, task
from shared.db.copying import copy_rows
from shared.db.engine import mark_outbox_written
from shared.events.codec import encode
from shared.events.pipeline import DEALS
from shared.tracing import Cause

_DEAL = tuple(column.name for column in deal.c)
_HISTORY = ("deal_id", "version", "headers", "value", "reason")
_TASK = tuple(column.name for column in task.c)
_OUTBOX = ("topic", "key", "headers", "value")
_encoder = msgspec.json.Encoder()


class NewDeals:
    """Rows of new deals, encoded as they come and written together; each event is encoded once for both its places."""

    def __init__(self) -> None:
        self._deals: list[tuple[Any, ...]] = []
        self._history: list[tuple[Any, ...]] = []
        self._tasks: list[tuple[Any, ...]] = []
        self._outbox: list[tuple[Any, ...]] = []

    def add(self, change: DealChange, cause: Cause) -> None:
        """Take the next new deal, caused by `cause`; raises MessageTooLarge."""
        reasons = change.reasons or {}
        self._deals.append(_deal_row(change.deal))
        self._tasks += map(_task_row, change.tasks)
        for event in change.events:
            message = encode(event, cause)
            headers = _encoder.encode(message.headers).decode()
            self._history.append((event.deal_id, event.version, headers, message.value, reasons.get(event.version)))
            self._outbox.append((DEALS, message.key, headers, message.value))

    async def write(self, tx: AsyncConnection) -> None:
        """Append all of them within `tx`, the outbox in the order of each deal's versions.

        Raises the driver's UniqueViolationError when somebody else has made one of the deals.
        """
        if self._deals:
            await copy_rows(tx, "deal", _DEAL, self._deals)
            await copy_rows(tx, "deal_history", _HISTORY, self._history)
            if self._tasks:
                await copy_rows(tx, "task", _TASK, self._tasks)
            await copy_rows(tx, "outbox", _OUTBOX, self._outbox)
            mark_outbox_written(tx)


def _deal_row(made: Deal) -> tuple[Any, ...]:
    """The columns in the order of the table, in which the stage takes three."""
    stage = made.stage
    return (
        made.id, made.version, made.name, made.process, made.process_version, stage.code, stage.kind, stage.order,
        made.status, made.owner, made.customer_id, made.amount, made.currency, made.product, made.source,
        made.external_id, made.expected_close_on, made.lost_reason, _encoder.encode(made.fields).decode(), made.visit,
        made.stage_entered_at, made.sla_due_at, made.sla_breached, made.closed_at, made.created_at, made.updated_at,
    )  # fmt: skip


def _task_row(made: Task) -> tuple[Any, ...]:
    return (
        made.id, made.deal_id, made.stage, made.visit, made.code, _json(made.name), made.title, made.mandatory,
        made.status, made.owner, made.due_at, made.done_at, _json(made.result), made.version, made.created_at,
        made.updated_at,
    )  # fmt: skip


def _json(value: object) -> str | None:
    return None if value is None else _encoder.encode(value).decode()
