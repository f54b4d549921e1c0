"""Lists of customers: filtered, sorted, within the caller's scope, page by page; and the versions of one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self, cast
from uuid import UUID

from sqlalchemy import any_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.customer import Customer
from services.pipeline.store.customers import to_customer, visible_customers
from services.pipeline.store.deals import OwnerKeys, owner_array
from services.pipeline.store.tables import customer, customer_history
from shared.events.codec import Message, decode
from shared.events.pipeline import CUSTOMERS, CustomerEvent, Lifecycle

CustomerSort = Literal["updated_at", "created_at", "name"]
Position = tuple[datetime | str, UUID]


@dataclass(frozen=True, slots=True)
class CustomerFilter:
    """What a list of customers is narrowed to; `owner_keys` are all keys of one person."""

    lifecycle: Lifecycle | None = None
    segment: str | None = None
    external_id: str | None = None
    owner_keys: Sequence[str] | None = None
    updated_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class CustomerOrder:
    """How a list is sorted, ties by id."""

    by: CustomerSort
    descending: bool

    @classmethod
    def of(cls, sort: str) -> Self:
        """Return the order that `updated_at` or, the other way round, `-updated_at` names."""
        return cls(cast("CustomerSort", sort.removeprefix("-")), sort.startswith("-"))

    def position_of(self, last: Customer) -> Position:
        """Return where the next page continues behind `last`."""
        return (getattr(last, self.by), last.id)


async def list_customers(
    tx: AsyncConnection,
    keys: OwnerKeys,
    where: CustomerFilter,
    order: CustomerOrder,
    limit: int,
    after: Position | None,
) -> Sequence[Customer]:
    """Return up to `limit` customers within `keys`, behind `after`."""
    statement = visible_customers(keys)
    for column in (customer.c.lifecycle, customer.c.segment, customer.c.external_id):
        value = getattr(where, column.name)
        if value is not None:
            statement = statement.where(column == value)
    if where.owner_keys is not None:
        statement = statement.where(customer.c.owner == any_(owner_array(where.owner_keys)))
    if where.updated_since is not None:
        statement = statement.where(customer.c.updated_at >= where.updated_since)
    column = customer.c[order.by]
    if after is not None:
        here, there = tuple_(column, customer.c.id), tuple_(*after)
        statement = statement.where(here < there if order.descending else here > there)
    ends = (column.desc(), customer.c.id.desc()) if order.descending else (column, customer.c.id)
    return [to_customer(row) for row in await tx.execute(statement.order_by(*ends).limit(limit))]


async def customer_versions(tx: AsyncConnection, customer_id: UUID, after: int, limit: int) -> Sequence[CustomerEvent]:
    """Return the events of a customer behind a version."""
    rows = await tx.execute(
        select(customer_history.c.headers, customer_history.c.value)
        .where(customer_history.c.customer_id == customer_id, customer_history.c.version > after)
        .order_by(customer_history.c.version)
        .limit(limit)
    )
    events = (decode(Message(CUSTOMERS, "", row.headers, row.value)) for row in rows)
    return [event for event in events if isinstance(event, CustomerEvent)]
