"""Tasks read from the database; they are written together with their deal."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import ARRAY, Row, Select, Uuid, any_, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.deal import Task
from services.pipeline.store.deals import OwnerKeys, owner_array
from services.pipeline.store.tables import deal, task
from shared.events.base import Names

_PRESENT_VISIT = (
    select(task)
    .join(deal, (deal.c.id == task.c.deal_id) & (deal.c.visit == task.c.visit))
    .where(task.c.deal_id == any_(bindparam("ids", type_=ARRAY(Uuid))))
    .order_by(task.c.id)
)
# A task that names nobody is its deal's owner's.
effective_owner = func.coalesce(task.c.owner, deal.c.owner)


def to_task(row: Row[Any]) -> Task:
    """Return the task of a row with all columns of its table."""
    values = dict(row._mapping)
    name = values.pop("name")
    return Task(name=None if name is None else msgspec.convert(name, Names), **values)


async def tasks_of_present_visits(tx: AsyncConnection, ids: Collection[UUID]) -> Mapping[UUID, Sequence[Task]]:
    """Return the tasks of each deal's present visit; a deal without any is left out. To be read under its lock."""
    found: dict[UUID, list[Task]] = {}
    for row in await tx.execute(_PRESENT_VISIT, {"ids": list(ids)}):
        found.setdefault(row.deal_id, []).append(to_task(row))
    return found


async def find_task(tx: AsyncConnection, task_id: UUID, keys: OwnerKeys) -> Task | None:
    """Return a task, or None when there is none or `keys` do not cover its deal's owner nor its own."""
    row = (await tx.execute(visible_tasks(keys).where(task.c.id == task_id))).one_or_none()
    return None if row is None else to_task(row)


def visible_tasks(keys: OwnerKeys) -> Select[Any]:
    """Return the selection of all tasks that somebody may see: those of visible deals, and those given to them."""
    statement = select(task).join(deal, deal.c.id == task.c.deal_id).where(deal.c.status != "deleted")
    if keys is None:
        return statement
    array = owner_array(keys)
    return statement.where((deal.c.owner == any_(array)) | (task.c.owner == any_(array)))
