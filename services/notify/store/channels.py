"""Channels in the database."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notify.domain.channel import Channel
from services.notify.store.tables import CHANNEL
from shared.events.base import Names


async def add(tx: AsyncConnection, channel: Channel) -> None:
    """Insert a new channel."""
    await tx.execute(insert(CHANNEL).values(_to_row(channel)))


async def save(tx: AsyncConnection, channel: Channel) -> None:
    """Write a channel whose row the caller has locked."""
    await tx.execute(update(CHANNEL).where(CHANNEL.c.channel_id == channel.id).values(_to_row(channel)))


async def remove(tx: AsyncConnection, channel_id: UUID) -> None:
    """Delete a channel whose row the caller has locked."""
    await tx.execute(delete(CHANNEL).where(CHANNEL.c.channel_id == channel_id))


async def find(tx: AsyncConnection, channel_id: UUID, *, lock: bool = False) -> Channel | None:
    """Return a channel, locked for a change if asked."""
    query = select(CHANNEL).where(CHANNEL.c.channel_id == channel_id)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else _to_channel(row)


async def named(tx: AsyncConnection, channel_ids: Collection[UUID], *, hold: bool = False) -> dict[UUID, Channel]:
    """Return channels by id; with `hold` none of them can go before the transaction ends."""
    query = select(CHANNEL).where(CHANNEL.c.channel_id.in_(channel_ids)).order_by(CHANNEL.c.channel_id)
    rows = await tx.execute(query.with_for_update(read=True) if hold else query)
    return {row.channel_id: _to_channel(row) for row in rows}


async def page(tx: AsyncConnection, after: UUID | None, limit: int) -> Sequence[Channel]:
    """Return up to `limit` channels, the newest first, behind `after`."""
    query = select(CHANNEL).order_by(CHANNEL.c.channel_id.desc()).limit(limit)
    rows = await tx.execute(query if after is None else query.where(CHANNEL.c.channel_id < after))
    return [_to_channel(row) for row in rows]


async def disable(tx: AsyncConnection, channel_id: UUID, reason: str) -> None:
    """Switch a channel off because its target said that it has ended."""
    await tx.execute(
        update(CHANNEL)
        .where(CHANNEL.c.channel_id == channel_id, CHANNEL.c.enabled)
        .values(enabled=False, disabled_reason=reason, version=CHANNEL.c.version + 1)
    )


def _to_row(channel: Channel) -> dict[str, Any]:
    return {
        "channel_id": channel.id,
        "kind": channel.kind,
        "name": msgspec.to_builtins(channel.name),
        "url": channel.url,
        "secret": channel.secret,
        "enabled": channel.enabled,
        "disabled_reason": channel.disabled_reason,
        "created_by": channel.created_by,
        "created_at": channel.created_at,
        "version": channel.version,
    }


def _to_channel(row: Row[Any]) -> Channel:
    name = msgspec.convert(row.name, Names) if isinstance(row.name, dict) else row.name
    return Channel(
        id=row.channel_id,
        kind=row.kind,
        name=name,
        url=row.url,
        secret=row.secret,
        enabled=row.enabled,
        disabled_reason=row.disabled_reason,
        created_by=row.created_by,
        created_at=row.created_at,
        version=row.version,
    )
