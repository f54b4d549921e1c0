"""Recording customers as rows tell them, in batches, each customer at most once."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.customer import (
    Customer,
    CustomerChange,
    CustomerFields,
    change_customer,
    create_customer,
)
from services.pipeline.domain.import_rows import CustomerRow
from services.pipeline.domain.row import CustomerName
from services.pipeline.store.customer_names import RowKey, ids_of_customers
from services.pipeline.store.customers import lock_customers, write_customers
from services.pipeline.store.owners import Owner, describe_owners
from services.pipeline.use_cases.context import Context
from services.pipeline.use_cases.owner_names import canonical_key, key_of_name, same_person
from services.pipeline.use_cases.recorded import Outcome, Recorder
from shared.ids import new_id


async def find_or_create_customers(
    tx: AsyncConnection, context: Context, names: Mapping[RowKey, CustomerName], recorder: Recorder
) -> Mapping[RowKey, UUID]:
    """Return the ids of the named customers; one that nobody knows becomes a lead, since nobody knows when."""
    if not names:
        return {}
    found = await ids_of_customers(tx, names, by_hand=True)
    missing = {key: name for key, name in names.items() if key not in found}
    recording = context.recording(recorder.actor)
    changes = {
        (source, external_id): create_customer(
            new_id(),
            {
                "name": name.name or external_id,
                "source": source,
                "external_id": external_id,
                "lifecycle": "lead",
                "lifecycle_at": None,
            },
            recording,
        )
        for (source, external_id), name in missing.items()
    }
    if not recorder.dry_run:
        await write_customers(tx, list(changes.values()))
    return found | {key: change.customer.id for key, change in changes.items()}


async def record_customers(
    tx: AsyncConnection, context: Context, rows: Sequence[CustomerRow], recorder: Recorder
) -> Sequence[Outcome]:
    """Record rows of different customers within `tx`; one outcome each. Raises IntegrityError."""
    ids = await ids_of_customers(tx, {(row.source, row.external_id) for row in rows}, by_hand=False)
    locked = await lock_customers(tx, ids.values())
    present = [locked.get(ids[key]) if (key := (row.source, row.external_id)) in ids else None for row in rows]
    owners = await describe_owners(
        tx, {*(key_of_name(row.owner) for row in rows), *(customer.owner for customer in locked.values())}
    )
    decided = [
        _decide(context, row, customer, owners, recorder.actor) for row, customer in zip(rows, present, strict=True)
    ]
    if not recorder.dry_run:
        await write_customers(tx, [change for change in decided if change])
    return [
        Outcome(("updated" if customer else "created") if change else "unchanged")
        for customer, change in zip(present, decided, strict=True)
    ]


def _decide(
    context: Context, row: CustomerRow, customer: Customer | None, owners: Mapping[str, Owner], actor: str | None
) -> CustomerChange | None:
    told = _told(row, customer, owners)
    if customer is not None:
        return change_customer(customer, told, context.recording(actor, customer.updated_at))
    new = CustomerFields(name=row.external_id, lifecycle_at=None, source=row.source, external_id=row.external_id)
    return create_customer(new_id(), {**new, **told}, context.recording(actor))


def _told(row: CustomerRow, customer: Customer | None, owners: Mapping[str, Owner]) -> CustomerFields:
    told = CustomerFields(contact=row.contact)
    if row.name:
        told["name"] = row.name
    if row.segment:
        told["segment"] = row.segment
    if row.sector:
        told["sector"] = row.sector
    key = key_of_name(row.owner)
    if key and not same_person(owners, key, customer.owner if customer else None):
        told["owner"] = canonical_key(owners, key)
    if row.lifecycle:
        told["lifecycle"] = row.lifecycle
        if row.lifecycle_at or customer is None or customer.lifecycle != row.lifecycle:
            told["lifecycle_at"] = row.lifecycle_at
    return told
