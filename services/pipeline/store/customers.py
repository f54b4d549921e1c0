"""Customers in the database: one, many under lock, and the one write of them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import ARRAY, Row, Select, Text, Uuid, any_, bindparam, exists, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.customer import Customer, CustomerChange
from services.pipeline.store.deals import OwnerKeys, owner_array
from services.pipeline.store.tables import customer, deal
from shared.db.engine import mark_outbox_written
from shared.events.codec import encode
from shared.events.pipeline import CUSTOMERS

_encoder = msgspec.json.Encoder()
_present = ~customer.c.erased
_LOCK = (
    select(customer)
    .where(customer.c.id == any_(bindparam("ids", type_=ARRAY(Uuid))), _present)
    .order_by(customer.c.id)
    .with_for_update()
)
_BY_EXTERNAL_ID = select(customer.c.external_id, customer.c.id).where(
    customer.c.external_id == any_(bindparam("external_ids", type_=ARRAY(Text))),
    customer.c.source.is_not_distinct_from(bindparam("source", type_=Text)),
    _present,
)
_WRITE = text(
    """
    WITH written_customers AS (
        INSERT INTO customer (
            id, version, name, contact, lifecycle, lifecycle_at, owner, segment, sector, source, external_id, erased,
            created_at, updated_at)
        SELECT * FROM json_to_recordset(CAST(:customers AS json)) AS c (
            id uuid, version bigint, name text, contact jsonb, lifecycle text, lifecycle_at timestamptz, owner text,
            segment text, sector text, source text, external_id text, erased boolean, created_at timestamptz,
            updated_at timestamptz)
        ON CONFLICT (id) DO UPDATE SET
            version = excluded.version, name = excluded.name, contact = excluded.contact,
            lifecycle = excluded.lifecycle, lifecycle_at = excluded.lifecycle_at, owner = excluded.owner,
            segment = excluded.segment, sector = excluded.sector, source = excluded.source,
            external_id = excluded.external_id, erased = excluded.erased, updated_at = excluded.updated_at
    ), messages AS (
        SELECT * FROM unnest(
            CAST(:ids AS uuid[]), CAST(:versions AS bigint[]), CAST(:keys AS text[]), CAST(:headers AS text[]),
            CAST(:values AS bytea[])) AS m (customer_id, version, key, headers, value)
    ), written_history AS (
        INSERT INTO customer_history (customer_id, version, headers, value)
        SELECT customer_id, version, headers::jsonb, value FROM messages
    )
    INSERT INTO outbox (topic, key, headers, value)
    SELECT CAST(:topic AS text), key, headers::jsonb, value FROM messages ORDER BY key, version
    """
)


def to_customer(row: Row[Any]) -> Customer:
    """Return the customer of a row with all columns of its table."""
    return Customer(**row._mapping)


async def write_customers(tx: AsyncConnection, changes: Sequence[CustomerChange]) -> None:
    """Write customers, history and outbox rows of `changes` (each customer once) in one statement.

    The caller holds the row locks of those that exist. Raises IntegrityError when an external id is taken.
    """
    if not changes:
        return
    messages = [encode(change.event) for change in changes]
    await tx.execute(
        _WRITE,
        {
            "customers": _encoder.encode([change.customer for change in changes]).decode(),
            "topic": CUSTOMERS,
            "ids": [change.customer.id for change in changes],
            "versions": [change.customer.version for change in changes],
            "keys": [message.key for message in messages],
            "headers": [_encoder.encode(message.headers).decode() for message in messages],
            "values": [message.value for message in messages],
        },
    )
    mark_outbox_written(tx)


async def lock_customers(tx: AsyncConnection, ids: Collection[UUID]) -> Mapping[UUID, Customer]:
    """Lock customers in the order of their ids and return those that exist and are not erased."""
    rows = await tx.execute(_LOCK, {"ids": sorted(ids)})
    return {row.id: to_customer(row) for row in rows}


async def customer_ids_by_external_id(
    tx: AsyncConnection, source: str | None, external_ids: Collection[str]
) -> Mapping[str, UUID]:
    """Return the ids of the customers that `source` calls by these external ids."""
    rows = await tx.execute(_BY_EXTERNAL_ID, {"source": source, "external_ids": list(external_ids)})
    return {row.external_id: row.id for row in rows}


def visible_customers(keys: OwnerKeys) -> Select[Any]:
    """Return the selection of the customers somebody may see: their own, nobody's, and those of visible deals."""
    statement = select(customer).where(_present)
    if keys is None:
        return statement
    array = owner_array(keys)
    deals = exists().where(deal.c.customer_id == customer.c.id, deal.c.owner == any_(array))
    return statement.where(or_(customer.c.owner.is_(None), customer.c.owner == any_(array), deals))


async def find_customer(tx: AsyncConnection, customer_id: UUID, keys: OwnerKeys) -> Customer | None:
    """Return a customer, or None when there is none or it is not within `keys`."""
    row = (await tx.execute(visible_customers(keys).where(customer.c.id == customer_id))).one_or_none()
    return None if row is None else to_customer(row)
