"""Tasks of deals: added and changed in one transaction, under the lock of their deal."""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.deal import Deal, Task
from services.pipeline.domain.task import TaskFields, add_task, change_task
from services.pipeline.store.changes import write_changes
from services.pipeline.store.deals import lock_deals
from services.pipeline.store.tasks import find_task
from services.pipeline.use_cases.context import Context
from services.pipeline.use_cases.errors import NotFound
from services.pipeline.use_cases.visibility import actor_of, visible_keys
from shared.auth.principal import Principal


class LockedTask(NamedTuple):
    """A task and its deal, which is locked."""

    deal: Deal
    task: Task


async def create_task(
    context: Context, tx: AsyncConnection, principal: Principal, deal: Deal, told: TaskFields
) -> Task:
    """Add a task by hand to the present stage of a locked deal; `told` has a title."""
    change = add_task(deal, told, context.recording(actor_of(principal), deal.updated_at))
    await write_changes(tx, [change])
    return change.tasks[0]


async def alter_task(
    context: Context, tx: AsyncConnection, principal: Principal, locked: LockedTask, told: TaskFields
) -> Task:
    """Change a task of a locked deal; nothing is written when nothing is different."""
    recording = context.recording(actor_of(principal), locked.deal.updated_at)
    change = change_task(locked.deal, locked.task, told, recording)
    if change is None:
        return locked.task
    await write_changes(tx, [change])
    return change.tasks[0]


async def lock_visible_task(tx: AsyncConnection, principal: Principal, task_id: UUID) -> LockedTask:
    """Lock the deal of a task and return both; raises NotFound when the task is not there for the caller."""
    keys = await visible_keys(tx, principal)
    seen = await find_task(tx, task_id, keys)
    deal = (await lock_deals(tx, [seen.task.deal_id])).get(seen.task.deal_id) if seen else None
    # Read again: another transaction may have changed it before the deal was locked.
    found = await find_task(tx, task_id, keys) if deal else None
    if deal is None or found is None:
        raise NotFound("task")
    return LockedTask(deal, found.task)
