"""Customers found by what other systems call them."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import ARRAY, Text, any_, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.store.tables import customer

RowKey = tuple[str, str]
"""A source and the external id of something there."""

_BY_EXTERNAL_ID = select(customer.c.external_id, customer.c.source, customer.c.id).where(
    customer.c.external_id == any_(bindparam("external_ids", type_=ARRAY(Text))), ~customer.c.erased
)


async def ids_of_customers(tx: AsyncConnection, keys: Collection[RowKey], *, by_hand: bool) -> dict[RowKey, UUID]:
    """Return the ids of customers by source and external id.

    With `by_hand`, an external id that its own source does not know may be that of a customer without any source: a
    file of deals names customers that were made by hand.
    """
    rows = (await tx.execute(_BY_EXTERNAL_ID, {"external_ids": list({name for _, name in keys})})).all()
    known: dict[tuple[str | None, str], UUID] = {(row.source, row.external_id): row.id for row in rows}
    found = {(source, name): known.get((source, name)) for source, name in keys}
    if by_hand:
        found = {key: customer_id or known.get((None, key[1])) for key, customer_id in found.items()}
    return {key: customer_id for key, customer_id in found.items() if customer_id}
