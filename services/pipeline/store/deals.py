"""Deals read from the database: one, many under lock, or what another system calls them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Select, Text, Uuid, any_, bindparam, null, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.course import course_of
from services.pipeline.domain.deal import Deal
from services.pipeline.store.tables import PERSONAL_COLUMNS, deal, deal_history, task
from shared.events.codec import Message, decode
from shared.events.pipeline import DEALS, DealEvent, Stage, StageEntry

OwnerKeys = Collection[str] | None
"""The owner keys somebody may see; None is everything."""

_COLUMNS = tuple(column.name for column in deal.c)
_present = deal.c.status != "deleted"
_LOCK = (
    select(deal)
    .where(deal.c.id == any_(bindparam("ids", type_=ARRAY(Uuid))), _present)
    .order_by(deal.c.id)
    .with_for_update()
)
_BY_EXTERNAL_ID = select(deal.c.external_id, deal.c.id).where(
    deal.c.external_id == any_(bindparam("external_ids", type_=ARRAY(Text))),
    deal.c.source.is_not_distinct_from(bindparam("source", type_=Text)),
    _present,
)
_HISTORY = (
    select(deal_history.c.deal_id, deal_history.c.headers, deal_history.c.value)
    .where(deal_history.c.deal_id == any_(bindparam("ids", type_=ARRAY(Uuid))))
    .order_by(deal_history.c.deal_id, deal_history.c.version)
)


def to_deal(row: Iterable[Any]) -> Deal:
    """Return the deal of a row that begins with all columns of its table."""
    values = dict(zip(_COLUMNS, row, strict=False))
    stage = Stage(values.pop("stage"), values.pop("stage_kind"), values.pop("stage_order"))
    return Deal(stage=stage, **values)


def sees(keys: OwnerKeys, owner: str | None) -> bool:
    """Tell whether somebody who may see `keys` sees what belongs to `owner`."""
    return keys is None or owner in keys


async def lock_deals(tx: AsyncConnection, ids: Collection[UUID]) -> Mapping[UUID, Deal]:
    """Lock deals in the order of their ids and return those that exist and are not deleted."""
    rows = await tx.execute(_LOCK, {"ids": sorted(ids)})
    return {row.id: to_deal(row) for row in rows}


async def lock_due_deals(tx: AsyncConnection, ids: Collection[UUID]) -> Sequence[Deal]:
    """Lock those of the deals that nobody else has locked."""
    statement = select(deal).where(deal.c.id.in_(ids), _present).order_by(deal.c.id).with_for_update(skip_locked=True)
    return [to_deal(row) for row in await tx.execute(statement)]


async def find_deal(tx: AsyncConnection, deal_id: UUID, keys: OwnerKeys) -> Deal | None:
    """Return a deal, or None when there is none or `keys` do not cover its owner."""
    row = (await tx.execute(visible_deals(keys).where(deal.c.id == deal_id))).one_or_none()
    return None if row is None else to_deal(row)


def visible_deals(keys: OwnerKeys) -> Select[Any]:
    """Return the selection of all deals within `keys`."""
    statement = select(deal).where(_present)
    return statement if keys is None else statement.where(deal.c.owner == any_(owner_array(keys)))


def owner_array(keys: Collection[str]) -> Any:
    """Return owner keys as one bound array, so that the statement is the same for one and for a thousand."""
    return bindparam(None, list(keys), type_=ARRAY(Text))


async def ids_by_external_id(
    tx: AsyncConnection, source: str | None, external_ids: Collection[str]
) -> Mapping[str, UUID]:
    """Return the ids of the deals that `source` calls by these external ids."""
    rows = await tx.execute(_BY_EXTERNAL_ID, {"source": source, "external_ids": list(external_ids)})
    return {row.external_id: row.id for row in rows}


async def history_of(tx: AsyncConnection, ids: Collection[UUID]) -> Mapping[UUID, Sequence[DealEvent]]:
    """Return all events of each deal, in order."""
    found: dict[UUID, list[DealEvent]] = {}
    for row in await tx.execute(_HISTORY, {"ids": list(ids)}):
        event = decode(Message(DEALS, f"deal:{row.deal_id}", row.headers, row.value))
        if isinstance(event, DealEvent):
            found.setdefault(row.deal_id, []).append(event)
    return found


async def courses_of(tx: AsyncConnection, ids: Collection[UUID]) -> Mapping[UUID, tuple[StageEntry, ...]]:
    """Return the stage entries recorded for each deal."""
    return {deal_id: course_of(events) for deal_id, events in (await history_of(tx, ids)).items()}


async def erase_deal(tx: AsyncConnection, deal_id: UUID) -> None:
    """Blank all personal text that hangs on a deal whose row is locked; the deal's own row is written by its change."""
    for table in (deal_history, task):
        nothing = dict.fromkeys(PERSONAL_COLUMNS[table], null())
        await tx.execute(update(table).where(table.c.deal_id == deal_id).values(nothing))
