"""Customers: created, changed and erased, each in one transaction with its event."""

from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.customer import (
    Customer,
    CustomerChange,
    CustomerFields,
    change_customer,
    create_customer,
    erase_customer,
)
from services.pipeline.store.changes import UNIQUE_VIOLATION
from services.pipeline.store.customers import find_customer, lock_customers, write_customers
from services.pipeline.use_cases.context import Context
from services.pipeline.use_cases.errors import ExternalIdTaken, NotFound
from services.pipeline.use_cases.visibility import actor_of, visible_keys
from shared.auth.principal import Principal
from shared.db.errors import sqlstate
from shared.ids import new_id


async def add_customer(context: Context, tx: AsyncConnection, principal: Principal, told: CustomerFields) -> Customer:
    """Create a customer; `told` has a name, and `owner` as an owner key. Raises ExternalIdTaken."""
    change = create_customer(new_id(), told, context.recording(actor_of(principal)))
    await _write(tx, change)
    return change.customer


async def alter_customer(
    context: Context, tx: AsyncConnection, principal: Principal, customer: Customer, told: CustomerFields
) -> Customer:
    """Change a locked customer; nothing is written when nothing is different. Raises ExternalIdTaken."""
    change = change_customer(customer, told, context.recording(actor_of(principal), customer.updated_at))
    if change is None:
        return customer
    await _write(tx, change)
    return change.customer


async def forget_customer(context: Context, tx: AsyncConnection, principal: Principal, customer: Customer) -> None:
    """Erase the personal text of a locked customer; it is no longer found, its deals and numbers stay."""
    await _write(tx, erase_customer(customer, context.recording(actor_of(principal), customer.updated_at)))


async def lock_visible_customer(tx: AsyncConnection, principal: Principal, customer_id: UUID) -> Customer:
    """Lock one customer and return it; raises NotFound when there is none or it is not the caller's to see."""
    seen = await find_customer(tx, customer_id, await visible_keys(tx, principal))
    customer = (await lock_customers(tx, [customer_id])).get(customer_id) if seen else None
    if customer is None:
        raise NotFound("customer")
    return customer


async def _write(tx: AsyncConnection, change: CustomerChange) -> None:
    try:
        await write_customers(tx, [change])
    except IntegrityError as error:
        if sqlstate(error) != UNIQUE_VIOLATION:
            raise
        raise ExternalIdTaken from error
