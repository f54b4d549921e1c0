"""Tasks read from the database; they are written together with their deal."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import ARRAY, Row, Select, Uuid, any_, bindparam, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.deal import Task, TaskStatus
from services.pipeline.store.deals import OwnerKeys, owner_array
from services.pipeline.store.tables import deal, task
from shared.events.base import Names

# Where a task without a due date stands in the order.
NEVER = datetime(9999, 12, 31, tzinfo=UTC)
Position = tuple[datetime, UUID]

_PRESENT_VISIT = (
    select(task)
    .join(deal, (deal.c.id == task.c.deal_id) & (deal.c.visit == task.c.visit))
    .where(task.c.deal_id == any_(bindparam("ids", type_=ARRAY(Uuid))))
    .order_by(task.c.id)
)
# A task that names nobody is its deal's owner's.
_owner = func.coalesce(task.c.owner, deal.c.owner)
_due = func.coalesce(task.c.due_at, NEVER)


class OwnedTask(NamedTuple):
    """A task and the key of who has to do it."""

    task: Task
    owner: str | None


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """What a list of tasks is narrowed to; `owner_keys` are all keys of one person."""

    deal_id: UUID | None = None
    owner_keys: Sequence[str] | None = None
    status: TaskStatus | None = None
    due_before: datetime | None = None


def to_task(row: Row[Any]) -> Task:
    """Return the task of a row with all columns of its table."""
    values = {column.name: getattr(row, column.name) for column in task.c}
    name = values.pop("name")
    return Task(name=None if name is None else msgspec.convert(name, Names), **values)


async def tasks_of_present_visits(tx: AsyncConnection, ids: Collection[UUID]) -> Mapping[UUID, Sequence[Task]]:
    """Return the tasks of each deal's present visit; a deal without any is left out. To be read under its lock."""
    found: dict[UUID, list[Task]] = {}
    for row in await tx.execute(_PRESENT_VISIT, {"ids": list(ids)}):
        found.setdefault(row.deal_id, []).append(to_task(row))
    return found


async def find_task(tx: AsyncConnection, task_id: UUID, keys: OwnerKeys) -> OwnedTask | None:
    """Return a task, or None when there is none or it is not to be seen with `keys`."""
    row = (await tx.execute(_visible(keys).where(task.c.id == task_id))).one_or_none()
    return None if row is None else OwnedTask(to_task(row), row.shown_owner)


async def list_tasks(
    tx: AsyncConnection, keys: OwnerKeys, where: TaskFilter, limit: int, after: Position | None
) -> Sequence[OwnedTask]:
    """Return up to `limit` tasks behind `after`, those due first first."""
    statement = _visible(keys)
    if where.deal_id is not None:
        statement = statement.where(task.c.deal_id == where.deal_id)
    if where.owner_keys is not None:
        statement = statement.where(_owner == any_(owner_array(where.owner_keys)))
    if where.status is not None:
        statement = statement.where(task.c.status == where.status)
    if where.due_before is not None:
        statement = statement.where(task.c.due_at < where.due_before)
    if after is not None:
        statement = statement.where(tuple_(_due, task.c.id) > tuple_(*after))
    rows = await tx.execute(statement.order_by(_due, task.c.id).limit(limit))
    return [OwnedTask(to_task(row), row.shown_owner) for row in rows]


def position_of(last: Task) -> Position:
    """Return where the next page continues behind `last`."""
    return (last.due_at or NEVER, last.id)


def _visible(keys: OwnerKeys) -> Select[Any]:
    """All tasks that somebody may see: those of visible deals, and those given to them."""
    statement = (
        select(task, _owner.label("shown_owner"))
        .join(deal, deal.c.id == task.c.deal_id)
        .where(deal.c.status != "deleted")
    )
    if keys is None:
        return statement
    array = owner_array(keys)
    return statement.where((deal.c.owner == any_(array)) | (task.c.owner == any_(array)))
