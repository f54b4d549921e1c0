"""A customer with a dated, retractable lifecycle, and the changes of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict
from uuid import UUID

import msgspec

from services.pipeline.domain.stage_entry import Recording
from shared.events.pipeline import CustomerChanged, CustomerCreated, CustomerErased, CustomerEvent, Lifecycle


class Customer(msgspec.Struct, frozen=True, kw_only=True):
    """A customer as it stands at `version`; `name` and `contact` are personal text, the rest are ids and classes.

    `lifecycle_at` tells since when the lifecycle holds, null where nobody knows. `external_id` is unique per `source`.
    """

    id: UUID
    version: int = 1
    name: str
    contact: dict[str, str] = {}
    lifecycle: Lifecycle = "lead"
    lifecycle_at: datetime | None = None
    owner: str | None = None
    segment: str | None = None
    sector: str | None = None
    source: str | None = None
    external_id: str | None = None
    erased: bool = False
    created_at: datetime
    updated_at: datetime


class CustomerFields(TypedDict, total=False):
    """What was told about a customer: an absent key says nothing, a null says that there is no value.

    `contact` has only those fields that were told. A `lifecycle` holds since `lifecycle_at` (null: nobody
    knows); without that key it holds from now on.
    """

    name: str
    contact: Mapping[str, str | None]
    lifecycle: Lifecycle
    lifecycle_at: datetime | None
    owner: str | None
    segment: str | None
    sector: str | None
    source: str | None
    external_id: str | None


@dataclass(frozen=True, slots=True)
class CustomerChange:
    """A customer after its new event."""

    customer: Customer
    event: CustomerEvent


def create_customer(customer_id: UUID, told: CustomerFields, recording: Recording) -> CustomerChange:
    """Return a new customer; `told` must have a name."""
    empty = Customer(
        id=customer_id,
        name=told["name"],
        lifecycle_at=told.get("lifecycle_at", recording.at),
        created_at=recording.at,
        updated_at=recording.at,
    )
    customer = _with_fields(empty, told)
    event = CustomerCreated(
        version=1,
        recorded_at=recording.at,
        occurred_at=customer.lifecycle_at,
        customer_id=customer_id,
        lifecycle=customer.lifecycle,
        owner=customer.owner,
        segment=customer.segment,
        source_of_customer=customer.source,
    )
    return CustomerChange(customer, event)


def change_customer(customer: Customer, told: CustomerFields, recording: Recording) -> CustomerChange | None:
    """Return the change to what was told; None when nothing is different. A lifecycle may also go back."""
    if "lifecycle" in told and told["lifecycle"] != customer.lifecycle and "lifecycle_at" not in told:
        told = {**told, "lifecycle_at": recording.at}
    after = _with_fields(customer, told)
    if after == customer:
        return None
    after = msgspec.structs.replace(after, version=customer.version + 1, updated_at=recording.at)
    moved = (after.lifecycle, after.lifecycle_at) != (customer.lifecycle, customer.lifecycle_at)
    event = CustomerChanged(
        version=after.version,
        recorded_at=recording.at,
        occurred_at=after.lifecycle_at if moved else recording.at,
        customer_id=customer.id,
        lifecycle=after.lifecycle,
        lifecycle_before=customer.lifecycle,
        owner=after.owner,
        segment=after.segment,
        source_of_customer=after.source,
    )
    return CustomerChange(after, event)


def erase_customer(customer: Customer, recording: Recording) -> CustomerChange:
    """Return the customer without its personal text; its ids and classes stay for the numbers."""
    after = msgspec.structs.replace(
        customer, version=customer.version + 1, name="", contact={}, erased=True, updated_at=recording.at
    )
    event = CustomerErased(
        version=after.version,
        recorded_at=recording.at,
        occurred_at=recording.at,
        customer_id=customer.id,
        lifecycle=customer.lifecycle,
        owner=customer.owner,
        segment=customer.segment,
        source_of_customer=customer.source,
    )
    return CustomerChange(after, event)


def _with_fields(customer: Customer, told: CustomerFields) -> Customer:
    values: dict[str, object] = {name: value for name, value in told.items() if name != "contact"}
    contact = {**customer.contact, **told.get("contact", {})}
    values["contact"] = {name: value for name, value in contact.items() if value is not None}
    return msgspec.structs.replace(customer, **values)
