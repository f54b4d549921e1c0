"""The fields of a deal that people and other systems may set, and what a change of them is."""

from collections.abc import Mapping
from datetime import date
from typing import TypedDict
from uuid import UUID

import msgspec

from services.pipeline.domain.deal import Deal, DealChange, Scalar
from services.pipeline.domain.stage_entry import Recording
from shared.events.pipeline import DealChanged


class DealFields(TypedDict, total=False):
    """What was told about a deal: a key that is absent says nothing, a null says that there is no value.

    `amount` (minor units) and `currency` come together; `fields` has only those free fields that were told.
    """

    name: str
    owner: str | None
    customer_id: UUID | None
    amount: int | None
    currency: str | None
    product: str | None
    source: str | None
    external_id: str | None
    expected_close_on: date | None
    lost_reason: str | None
    fields: Mapping[str, Scalar]


def with_fields(deal: Deal, told: DealFields) -> tuple[Deal, tuple[str, ...]]:
    """Return `deal` with what was told, at the same version, and the sorted names of what is different.

    A free field is named `fields.<name>`; null takes it away. `lost_reason` is kept by lost deals only.
    """
    values: dict[str, object] = {name: value for name, value in told.items() if name != "fields"}
    if deal.status != "lost":
        values.pop("lost_reason", None)
    changed = {name for name, value in values.items() if getattr(deal, name) != value}
    free = dict(deal.fields)
    for name, value in told.get("fields", {}).items():
        if not _is_same(free.get(name), value):
            changed.add(f"fields.{name}")
        free[name] = value
    values["fields"] = {name: value for name, value in free.items() if value is not None}
    return msgspec.structs.replace(deal, **values), tuple(sorted(changed))


def _is_same(one: Scalar, other: Scalar) -> bool:
    # To Python true equals 1: to a gate that asks for true it does not.
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def change_fields(deal: Deal, told: DealFields, recording: Recording) -> DealChange | None:
    """Return the change to what was told; None when nothing is different."""
    after, changed = with_fields(deal, told)
    if not changed:
        return None
    after = msgspec.structs.replace(after, version=deal.version + 1, updated_at=recording.at)
    event = DealChanged(
        version=after.version,
        recorded_at=recording.at,
        occurred_at=recording.at,
        deal_id=deal.id,
        deal=after.state,
        before=deal.state,
        actor=recording.actor,
        changed=changed,
    )
    return DealChange(after, (event,))
