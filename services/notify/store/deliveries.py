"""Deliveries in the database: written with their alert, leased by whichever sender comes first."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Integer,
    Row,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningUpdate

from services.notify.domain.delivery import Attempt, Delivery, DeliveryState
from services.notify.store.tables import DELIVERY
from shared.db.platform import Moment

_WAITING = DELIVERY.c.state.in_(["pending", "failed"])


async def add(tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
    """Insert new deliveries; what is there already for the same alert, transition and target stays as it is."""
    if deliveries:
        await tx.execute(insert(DELIVERY).values([_to_row(one) for one in deliveries]).on_conflict_do_nothing())


async def of_alerts(tx: AsyncConnection, alert_ids: Collection[UUID]) -> Sequence[Delivery]:
    """Return the deliveries that told of the firing of these alerts."""
    query = select(DELIVERY).where(DELIVERY.c.alert_id.in_(alert_ids), DELIVERY.c.transition == "fired")
    return [_to_delivery(row) for row in await tx.execute(query.order_by(DELIVERY.c.delivery_id))]


async def lease(
    tx: AsyncConnection, now: datetime, lasting: timedelta, limit: int, per_target: int
) -> Sequence[Delivery]:
    """Take up to `limit` due deliveries for `lasting`, so that about `per_target` of each target are on their way.

    Others take other ones. A resolution waits while its firing still has an attempt to come.
    """
    told = {"now": now, "until": now + lasting, "limit": limit, "per_target": per_target}
    rows = await tx.execute(_LEASE, told)
    return sorted((_to_delivery(row) for row in rows), key=lambda one: (one.next_at, one.id))


def _lease() -> ReturningUpdate[Any]:
    """Return the statement of `lease`: made once, it takes the time of several round trips to make."""
    now: BindParameter[datetime] = bindparam("now", type_=Moment)
    place = func.row_number().over(
        partition_by=DELIVERY.c.target, order_by=(DELIVERY.c.next_at, DELIVERY.c.delivery_id)
    )
    due = select(DELIVERY.c.delivery_id, DELIVERY.c.target, place.label("place")).where(_due(now)).subquery()
    held = (
        select(DELIVERY.c.target, func.count().label("leases"))
        .where(_WAITING, DELIVERY.c.lease_until > now)
        .group_by(DELIVERY.c.target)
        .subquery()
    )
    fair = (
        select(due.c.delivery_id)
        .outerjoin(held, held.c.target == due.c.target)
        .where(due.c.place + func.coalesce(held.c.leases, 0) <= bindparam("per_target", type_=Integer))
    )
    taken = (
        select(DELIVERY.c.delivery_id)
        .where(DELIVERY.c.delivery_id.in_(fair), _due(now))
        .order_by(DELIVERY.c.next_at, DELIVERY.c.delivery_id)
        .limit(bindparam("limit", type_=Integer))
        .with_for_update(skip_locked=True)
        .cte("taken")
    )
    return (
        update(DELIVERY)
        .where(DELIVERY.c.delivery_id == taken.c.delivery_id)
        .values(lease_until=bindparam("until", type_=Moment), tries=DELIVERY.c.tries + 1)
        .returning(*DELIVERY.c)
    )


def _due(now: BindParameter[datetime]) -> ColumnElement[bool]:
    firing = DELIVERY.alias("firing")
    told_first = exists().where(
        firing.c.alert_id == DELIVERY.c.alert_id,
        firing.c.target == DELIVERY.c.target,
        firing.c.transition == "fired",
        firing.c.state.in_(["pending", "failed"]),
    )
    free = or_(DELIVERY.c.lease_until.is_(None), DELIVERY.c.lease_until <= now)
    return and_(_WAITING, DELIVERY.c.next_at <= now, free, or_(DELIVERY.c.transition == "fired", ~told_first))


_LEASE = _lease()


async def record(
    tx: AsyncConnection, delivery: Delivery, attempt: Attempt, state: DeliveryState, next_at: datetime
) -> None:
    """Write the outcome of an attempt and give the lease back.

    Every attempt is noted and a success always counts; a failure counts only while the lease is still ours.
    """
    ours = DELIVERY.c.tries == delivery.tries
    counts = DELIVERY.c.state != "sent" if state == "sent" else and_(ours, _WAITING)
    sent_at = attempt.at if state == "sent" else None
    note = cast(literal([msgspec.to_builtins(attempt)], JSONB), JSONB)
    await tx.execute(
        update(DELIVERY)
        .where(DELIVERY.c.delivery_id == delivery.id)
        .values(
            attempts=DELIVERY.c.attempts.op("||")(note),
            state=case((counts, state), else_=DELIVERY.c.state),
            next_at=case((counts, next_at), else_=DELIVERY.c.next_at),
            sent_at=case((counts, sent_at), else_=DELIVERY.c.sent_at),
            lease_until=case((ours, None), else_=DELIVERY.c.lease_until),
        )
    )


async def put_back(tx: AsyncConnection, delivery_id: UUID, now: datetime) -> bool:
    """Make a failed or dead delivery due at once, with all its attempts before it; False when it is neither."""
    change = (
        update(DELIVERY)
        .where(DELIVERY.c.delivery_id == delivery_id, DELIVERY.c.state.in_(["failed", "dead"]))
        .values(state="pending", next_at=now, queued_at=now, tries=0, lease_until=None)
    )
    return bool((await tx.execute(change.returning(DELIVERY.c.delivery_id))).scalar())


async def find(tx: AsyncConnection, delivery_id: UUID, among: ColumnElement[bool]) -> Delivery | None:
    """Return a delivery among those that `among` lets see."""
    row = (await tx.execute(select(DELIVERY).where(DELIVERY.c.delivery_id == delivery_id, among))).one_or_none()
    return None if row is None else _to_delivery(row)


async def page(
    tx: AsyncConnection, among: Sequence[ColumnElement[bool]], after: UUID | None, limit: int
) -> Sequence[Delivery]:
    """Return up to `limit` deliveries, the newest first, behind `after`."""
    query = select(DELIVERY).where(*among).order_by(DELIVERY.c.delivery_id.desc()).limit(limit)
    rows = await tx.execute(query if after is None else query.where(DELIVERY.c.delivery_id < after))
    return [_to_delivery(row) for row in rows]


def _to_row(delivery: Delivery) -> dict[str, Any]:
    return {
        "delivery_id": delivery.id,
        "alert_id": delivery.alert_id,
        "transition": delivery.transition,
        "target": delivery.target,
        "kind": delivery.kind,
        "channel_id": delivery.channel_id,
        "recipient": delivery.recipient,
        "state": delivery.state,
        "created_at": delivery.created_at,
        "queued_at": delivery.queued_at,
        "next_at": delivery.next_at,
        "tries": delivery.tries,
        "attempts": [],
    }


def _to_delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        id=row.delivery_id,
        alert_id=row.alert_id,
        transition=row.transition,
        kind=row.kind,
        channel_id=row.channel_id,
        recipient=row.recipient,
        state=row.state,
        created_at=row.created_at,
        next_at=row.next_at,
        queued_at=row.queued_at,
        tries=row.tries,
        attempts=msgspec.convert(row.attempts, tuple[Attempt, ...]),
        sent_at=row.sent_at,
    )
