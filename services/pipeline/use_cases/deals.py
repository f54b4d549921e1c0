"""Deals: created, changed and deleted, each in one transaction with its event."""

from dataclasses import dataclass
from uuid import UUID

import msgspec
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.course import Entry, create_deal
from services.pipeline.domain.deal import Deal, DealChange
from services.pipeline.domain.deal_fields import DealFields, change_fields
from services.pipeline.store.changes import UNIQUE_VIOLATION, write_changes
from services.pipeline.store.customers import find_customer
from services.pipeline.store.deals import OwnerKeys, erase_deal, lock_deals, sees
from services.pipeline.use_cases.context import Context
from services.pipeline.use_cases.errors import ExternalIdTaken, Fault, Invalid, NotFound, OutOfScope
from services.pipeline.use_cases.visibility import actor_of, visible_keys
from shared.auth.directory import owner_key, owner_keys
from shared.auth.principal import Principal
from shared.db.errors import sqlstate
from shared.events.base import Names
from shared.events.pipeline import DealDeleted
from shared.ids import new_id


@dataclass(frozen=True, slots=True)
class OwnerName:
    """An owner as callers name one: by a person's id or by an external id, one of both."""

    person_id: UUID | None = None
    external_id: str | None = None


async def key_of_owner(tx: AsyncConnection, owner: OwnerName | None, keys: OwnerKeys) -> str | None:
    """Return the owner key of a named owner, known or not; raises OutOfScope when `keys` do not cover it."""
    if owner is None:
        return None
    key = await owner_key(tx, person_id=owner.person_id, external_id=owner.external_id)
    if not sees(keys, key):
        raise OutOfScope
    return key


async def own_key(tx: AsyncConnection, principal: Principal) -> str | None:
    """Return the owner key of the caller; None for a token that names no person."""
    return None if principal.person is None else (await owner_keys(tx, principal.person))[0]


async def add_deal(
    context: Context, tx: AsyncConnection, principal: Principal, process_code: str, told: DealFields
) -> Deal:
    """Create a deal in the first open stage of the newest version of a process, now. `told` has `owner` as a key.

    Raises Invalid and ExternalIdTaken.
    """
    process = await context.processes.newest(tx, process_code)
    keys = await visible_keys(tx, principal)
    faults = [] if process else [Fault("/process", "unknown_process", Names("没有这个流程", "No such process"))]
    faults += await customer_faults(tx, told, keys)
    if faults or process is None:
        raise Invalid(*faults)
    recording = context.recording(actor_of(principal))
    change = create_deal(process, new_id(), told, Entry(process.first.code, recording.at), recording)
    await _write(tx, change)
    return change.deal


async def change_deal(
    context: Context, tx: AsyncConnection, principal: Principal, deal: Deal, told: DealFields
) -> Deal:
    """Change fields of a locked deal; nothing is written when nothing is different. Raises as `add_deal` does."""
    faults = await customer_faults(tx, told, await visible_keys(tx, principal))
    if faults:
        raise Invalid(*faults)
    change = change_fields(deal, told, context.recording(actor_of(principal), deal.updated_at))
    if change is None:
        return deal
    await _write(tx, change)
    return change.deal


async def delete_deal(context: Context, tx: AsyncConnection, principal: Principal, deal: Deal) -> None:
    """Take back all facts of a locked deal and erase its personal text; its history of ids and numbers stays."""
    recording = context.recording(actor_of(principal), deal.updated_at)
    after = msgspec.structs.replace(
        deal, version=deal.version + 1, name="", fields={}, status="deleted", sla_due_at=None, updated_at=recording.at
    )
    event = DealDeleted(
        version=after.version,
        recorded_at=recording.at,
        occurred_at=recording.at,
        deal_id=deal.id,
        deal=after.state,
        before=deal.state,
        actor=recording.actor,
    )
    await write_changes(tx, [DealChange(after, (event,))])
    await erase_deal(tx, deal.id)


async def lock_visible_deal(tx: AsyncConnection, principal: Principal, deal_id: UUID) -> Deal:
    """Lock one deal and return it; raises NotFound when there is none or it is not the caller's to see."""
    deal = (await lock_deals(tx, [deal_id])).get(deal_id)
    if deal is None or not sees(await visible_keys(tx, principal), deal.owner):
        raise NotFound("deal")
    return deal


async def customer_faults(tx: AsyncConnection, told: DealFields, keys: OwnerKeys) -> list[Fault]:
    """Return a fault when a told customer is not there for the caller."""
    customer_id = told.get("customer_id")
    if customer_id is None or await find_customer(tx, customer_id, keys) is not None:
        return []
    return [Fault("/customer_id", "unknown_customer", Names("没有这个客户", "No such customer"))]


async def _write(tx: AsyncConnection, change: DealChange) -> None:
    try:
        await write_changes(tx, [change])
    except IntegrityError as error:
        if sqlstate(error) != UNIQUE_VIOLATION:
            raise
        raise ExternalIdTaken from error
