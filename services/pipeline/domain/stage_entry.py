"""What entering a stage does to a deal: status, visit, SLA and a new round of the stage's tasks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from services.pipeline.domain.deal import Deal, Task
from services.pipeline.domain.process import Process
from shared.calendar import BusinessCalendar
from shared.ids import new_id


@dataclass(frozen=True, slots=True)
class Recording:
    """When, by whom and by which working days something is recorded."""

    at: datetime
    actor: str | None
    calendar: BusinessCalendar


def sla_due(process: Process, stage: str, entered_at: datetime | None, calendar: BusinessCalendar) -> datetime | None:
    """Return when a deal that entered `stage` must have left it; None without an SLA or a date, and when closed."""
    definition = process.by_code[stage]
    if definition.sla is None or definition.kind != "open" or entered_at is None:
        return None
    return definition.after(entered_at, definition.sla, calendar)


def enter_stage(process: Process, deal: Deal, stage: str, at: datetime | None, recording: Recording) -> Deal:
    """Return `deal` one version later, in `stage` since `at` (null where nobody knows)."""
    place = process.places[stage]
    return msgspec.structs.replace(
        deal,
        version=deal.version + 1,
        stage=place,
        status=place.kind,
        lost_reason=deal.lost_reason if place.kind == "lost" else None,
        visit=deal.visit + 1,
        stage_entered_at=at,
        sla_due_at=sla_due(process, stage, at, recording.calendar),
        sla_breached=False,
        closed_at=None if place.kind == "open" else at,
        updated_at=recording.at,
    )


def open_tasks(process: Process, deal: Deal, recording: Recording) -> tuple[Task, ...]:
    """Return the tasks that belong to the deal's present visit, all open and new."""
    definition = process.by_code[deal.stage.code]
    start = deal.stage_entered_at
    return tuple(
        Task(
            id=new_id(),
            deal_id=deal.id,
            stage=definition.code,
            visit=deal.visit,
            code=template.code,
            name=template.name,
            mandatory=template.mandatory,
            due_at=definition.after(start, template.due, recording.calendar) if template.due and start else None,
            created_at=recording.at,
            updated_at=recording.at,
        )
        for template in definition.tasks
    )


def cancel_tasks(tasks: Sequence[Task], recording: Recording) -> tuple[Task, ...]:
    """Return the open tasks of a stage that is left, cancelled; those made by hand stay open."""
    return tuple(
        msgspec.structs.replace(task, status="cancelled", version=task.version + 1, updated_at=recording.at)
        for task in tasks
        if task.status == "open" and task.code is not None
    )
