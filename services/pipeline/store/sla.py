"""Deals beyond the SLA of their stage, and the breaches that were marked."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.deal import Deal
from services.pipeline.store.tables import deal, sla_breach

LEVEL = 1


async def overdue_deal_ids(tx: AsyncConnection, now: datetime, limit: int) -> Sequence[UUID]:
    """Return ids of open deals that should have left their stage and are not marked yet; nothing is locked."""
    statement = (
        select(deal.c.id)
        .where(deal.c.status == "open", ~deal.c.sla_breached, deal.c.sla_due_at <= now)
        .order_by(deal.c.sla_due_at)
        .limit(limit)
    )
    return (await tx.scalars(statement)).all()


async def mark_breaches(tx: AsyncConnection, deals: Collection[Deal], now: datetime) -> Collection[UUID]:
    """Record a breach of each deal's present visit and return the ids of those that had none yet."""
    rows = [
        {"deal_id": each.id, "visit": each.visit, "level": LEVEL, "due_at": each.sla_due_at, "recorded_at": now}
        for each in deals
    ]
    statement = insert(sla_breach).values(rows).on_conflict_do_nothing().returning(sla_breach.c.deal_id)
    return set(await tx.scalars(statement)) if rows else set()
