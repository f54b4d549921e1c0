"""A deal's tasks: added by hand, done, reopened and changed; each change raises the version of the deal."""

from collections.abc import Mapping
from datetime import datetime
from typing import TypedDict

import msgspec

from services.pipeline.domain.deal import Deal, DealChange, Scalar, Task, TaskStatus
from services.pipeline.domain.stage_entry import Recording
from shared.events.pipeline import DealTaskAdded, DealTaskChanged
from shared.ids import new_id

# The one entry of a result that events tell: a short class such as `success`, never free text.
OUTCOME = "outcome"
LONGEST_OUTCOME = 64


class TaskFields(TypedDict, total=False):
    """What was told about a task: an absent key says nothing. `owner` is an owner key; null follows the deal's."""

    title: str
    status: TaskStatus
    result: Mapping[str, Scalar] | None
    owner: str | None
    due_at: datetime | None
    mandatory: bool


def add_task(deal: Deal, told: TaskFields, recording: Recording) -> DealChange:
    """Return the deal with one more task, made by hand for its present stage; `told` must have a title."""
    values: dict[str, object] = dict(told)
    task = Task(
        id=new_id(),
        deal_id=deal.id,
        stage=deal.stage.code,
        visit=deal.visit,
        created_at=recording.at,
        updated_at=recording.at,
    )
    task = msgspec.structs.replace(task, **values)
    after = _next(deal, recording)
    event = DealTaskAdded(
        version=after.version,
        recorded_at=recording.at,
        occurred_at=recording.at,
        deal_id=deal.id,
        deal=after.state,
        before=deal.state,
        actor=recording.actor,
        task_id=task.id,
        due_at=task.due_at,
    )
    return DealChange(after, (event,), (task,))


def change_task(deal: Deal, task: Task, told: TaskFields, recording: Recording) -> DealChange | None:
    """Return the change of a task of `deal`; None when nothing is different, so that done twice is done once."""
    values: dict[str, object] = dict(told)
    changed = msgspec.structs.replace(task, **values)
    if changed == task and _flags(changed.result) == _flags(task.result):
        return None
    changed = msgspec.structs.replace(
        changed,
        version=task.version + 1,
        done_at=(task.done_at or recording.at) if changed.status == "done" else None,
        updated_at=recording.at,
    )
    after = _next(deal, recording)
    event = DealTaskChanged(
        version=after.version,
        recorded_at=recording.at,
        occurred_at=recording.at,
        deal_id=deal.id,
        deal=after.state,
        before=deal.state,
        actor=recording.actor,
        task_id=task.id,
        task_code=task.code,
        status=changed.status,
        due_at=changed.due_at,
        outcome=_outcome(changed),
    )
    return DealChange(after, (event,), (changed,))


def _flags(result: Mapping[str, Scalar] | None) -> frozenset[str]:
    # To Python true equals 1: to a gate that asks for true it does not.
    return frozenset(name for name, value in (result or {}).items() if isinstance(value, bool))


def _outcome(task: Task) -> str | None:
    told = (task.result or {}).get(OUTCOME)
    return told if isinstance(told, str) and len(told) <= LONGEST_OUTCOME else None


def _next(deal: Deal, recording: Recording) -> Deal:
    return msgspec.structs.replace(deal, version=deal.version + 1, updated_at=recording.at)
