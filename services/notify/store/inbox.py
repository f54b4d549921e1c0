"""The in-app inbox: one item for each delivery to a person."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notify.domain.alert import TransitionName
from services.notify.store.tables import INBOX_ITEM


@dataclass(frozen=True, slots=True)
class InboxItem:
    """What one person was told; `recipient` is an owner key."""

    id: UUID
    recipient: str
    alert_id: UUID
    transition: TransitionName
    created_at: datetime
    read_at: datetime | None = None


async def one_at_a_time(tx: AsyncConnection, recipient: str) -> None:
    """Let nobody else change this inbox's count before the transaction ends."""
    await tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"inbox:{recipient}", 0))))


async def add(tx: AsyncConnection, item: InboxItem) -> bool:
    """Put an item into the inbox; False when it was there already."""
    query = insert(INBOX_ITEM).values(
        item_id=item.id,
        recipient=item.recipient,
        alert_id=item.alert_id,
        transition=item.transition,
        created_at=item.created_at,
    )
    return bool((await tx.execute(query.on_conflict_do_nothing().returning(INBOX_ITEM.c.item_id))).scalar())


async def page(
    tx: AsyncConnection, recipients: Collection[str], unread: bool | None, after: UUID | None, limit: int
) -> Sequence[InboxItem]:
    """Return up to `limit` items of one person (under all keys), the newest first, behind `after`."""
    query = select(INBOX_ITEM).where(INBOX_ITEM.c.recipient.in_(recipients))
    if unread is not None:
        query = query.where(INBOX_ITEM.c.read_at.is_(None) if unread else INBOX_ITEM.c.read_at.is_not(None))
    if after is not None:
        query = query.where(INBOX_ITEM.c.item_id < after)
    rows = await tx.execute(query.order_by(INBOX_ITEM.c.item_id.desc()).limit(limit))
    return [_to_item(row) for row in rows]


async def unread(tx: AsyncConnection, recipients: Collection[str]) -> int:
    """Return how many items of one person are unread."""
    query = select(func.count()).where(INBOX_ITEM.c.recipient.in_(recipients), INBOX_ITEM.c.read_at.is_(None))
    return int((await tx.execute(query)).scalar_one())


async def read(tx: AsyncConnection, item_id: UUID, recipients: Collection[str], at: datetime) -> InboxItem | None:
    """Mark an item of this person as read (once) and return it; null when there is none."""
    change = (
        update(INBOX_ITEM)
        .where(INBOX_ITEM.c.item_id == item_id, INBOX_ITEM.c.recipient.in_(recipients))
        .values(read_at=func.coalesce(INBOX_ITEM.c.read_at, at))
    )
    row = (await tx.execute(change.returning(*INBOX_ITEM.c))).one_or_none()
    return None if row is None else _to_item(row)


def _to_item(row: Row[Any]) -> InboxItem:
    return InboxItem(row.item_id, row.recipient, row.alert_id, row.transition, row.created_at, row.read_at)
