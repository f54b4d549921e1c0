"""Lists of deals: filtered, sorted, within the caller's scope, page by page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Select, any_, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.deal import Deal
from services.pipeline.store.deals import OwnerKeys, owner_array, to_deal, visible_deals
from services.pipeline.store.tables import deal, deal_history
from shared.events.codec import Message, decode
from shared.events.pipeline import DEALS, DealEvent

DealSort = Literal["updated_at", "created_at", "amount", "name"]
# Below every amount, so that deals without one have a place in the order.
NO_AMOUNT = -(10**18)
_SORTED_BY: Mapping[DealSort, ColumnElement[Any]] = {
    "updated_at": deal.c.updated_at,
    "created_at": deal.c.created_at,
    "amount": func.coalesce(deal.c.amount, NO_AMOUNT),
    "name": deal.c.name,
}
Position = tuple[Any, UUID]


@dataclass(frozen=True, slots=True)
class DealFilter:
    """What a list of deals is narrowed to; `owner_keys` are all keys of one person."""

    process: str | None = None
    stage: str | None = None
    status: str | None = None
    owner_keys: Sequence[str] | None = None
    customer_id: UUID | None = None
    updated_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """How a list is sorted, ties by id."""

    by: DealSort
    descending: bool

    @classmethod
    def of(cls, sort: str) -> Self:
        """Return the order that `updated_at` or, the other way round, `-updated_at` names."""
        return cls(cast("DealSort", sort.removeprefix("-")), sort.startswith("-"))

    def position_of(self, last: Deal) -> Position:
        """Return where the next page continues behind `last`."""
        if self.by == "amount":
            return (NO_AMOUNT if last.amount is None else last.amount, last.id)
        return (getattr(last, self.by), last.id)


async def list_deals(
    tx: AsyncConnection, keys: OwnerKeys, where: DealFilter, order: Order, limit: int, after: Position | None
) -> Sequence[Deal]:
    """Return up to `limit` deals within `keys`, behind `after`."""
    column = _SORTED_BY[order.by]
    statement = _filtered(visible_deals(keys), where)
    if after is not None:
        here, there = tuple_(column, deal.c.id), tuple_(*after)
        statement = statement.where(here < there if order.descending else here > there)
    ends = (column.desc(), deal.c.id.desc()) if order.descending else (column, deal.c.id)
    return [to_deal(row) for row in await tx.execute(statement.order_by(*ends).limit(limit))]


def _filtered(statement: Select[Any], where: DealFilter) -> Select[Any]:
    for column, value in (
        (deal.c.process, where.process),
        (deal.c.stage, where.stage),
        (deal.c.status, where.status),
        (deal.c.customer_id, where.customer_id),
    ):
        if value is not None:
            statement = statement.where(column == value)
    if where.owner_keys is not None:
        statement = statement.where(deal.c.owner == any_(owner_array(where.owner_keys)))
    if where.updated_since is not None:
        statement = statement.where(deal.c.updated_at >= where.updated_since)
    return statement


async def deal_versions(
    tx: AsyncConnection, deal_id: UUID, after: int, limit: int
) -> Sequence[tuple[DealEvent, str | None]]:
    """Return the events of a deal behind a version, each with its free-text reason."""
    rows = await tx.execute(
        select(deal_history.c.headers, deal_history.c.value, deal_history.c.reason)
        .where(deal_history.c.deal_id == deal_id, deal_history.c.version > after)
        .order_by(deal_history.c.version)
        .limit(limit)
    )
    events = ((decode(Message(DEALS, "", row.headers, row.value)), row.reason) for row in rows)
    return [(event, reason) for event, reason in events if isinstance(event, DealEvent)]
