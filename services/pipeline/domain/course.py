"""The course of a deal as another system tells it: dated stage entries that have already happened."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

import msgspec

from services.pipeline.domain.deal import Deal, DealChange, Task
from services.pipeline.domain.deal_fields import DealFields, change_fields, with_fields
from services.pipeline.domain.move import Move, Moved, decide_move
from services.pipeline.domain.process import Process
from services.pipeline.domain.stage_entry import Recording, cancel_tasks, enter_stage, open_tasks, sla_due
from shared.events.pipeline import DealCourseCorrected, DealCreated, DealEvent, DealMoved, StageEntry
from shared.ids import new_id


class Entry(NamedTuple):
    """An entry into a stage (by its code); `at` is None where nobody knows when."""

    stage: str
    at: datetime | None


class Recorded(NamedTuple):
    """A deal as it is recorded here: its present state, the course told so far and the tasks of its present visit."""

    deal: Deal
    course: Sequence[StageEntry]
    tasks: Sequence[Task]


def course_of(events: Iterable[DealEvent]) -> tuple[StageEntry, ...]:
    """Return the stage entries that a deal's events, in order, tell."""
    course: list[StageEntry] = []
    for event in events:
        match event:
            case DealCreated():
                course = [StageEntry(event.deal.stage, event.occurred_at)]
            case DealMoved():
                course.append(StageEntry(event.deal.stage, event.occurred_at, event.passed))
            case DealCourseCorrected():
                course = list(event.course)
            case _:
                pass
    return tuple(course)


def create_deal(process: Process, deal_id: UUID, told: DealFields, entry: Entry, recording: Recording) -> DealChange:
    """Return a new deal that begins with `entry`, with the open tasks of that stage. `told` must have a name."""
    place = process.places[entry.stage]
    empty = Deal(
        id=deal_id,
        version=1,
        name="",
        process=process.code,
        process_version=process.version,
        stage=place,
        status=place.kind,
        stage_entered_at=entry.at,
        sla_due_at=sla_due(process, entry.stage, entry.at, recording.calendar),
        closed_at=None if place.kind == "open" else entry.at,
        created_at=recording.at,
        updated_at=recording.at,
    )
    deal, _ = with_fields(empty, told)
    event = DealCreated(
        version=1,
        recorded_at=recording.at,
        occurred_at=entry.at,
        deal_id=deal_id,
        deal=deal.state,
        actor=recording.actor,
    )
    return DealChange(deal, (event,), open_tasks(process, deal, recording))


def record_course(
    process: Process,
    recorded: Recorded | None,
    course: Sequence[Entry],
    told: DealFields,
    recording: Recording,
    *,
    retracts: bool = False,
) -> DealChange | None:
    """Return what is new in a told course and told fields; None when all of it is recorded already.

    A new deal (`recorded` None) needs at least one entry and a name. For a present one, `process` is the version the
    deal is under; a course that agrees as far as both go adds its further entries as moves (facts, flagged with what
    they broke), one that contradicts corrects what was told so far. An entry told without a date never contradicts a
    dated one. With `retracts`, recorded entries behind the told ones are taken back, otherwise they stay. Every stage
    must be one of the process; the same stage twice in a row is one entry.
    """
    entries = [next(same) for _, same in groupby(course, key=lambda entry: entry.stage)]
    if recorded is None:
        story = _Story(process, create_deal(process, new_id(), told, entries[0], recording), (), recording)
        story.move_on(entries[1:], told.get("lost_reason"))
        return story.change()
    changed = change_fields(recorded.deal, told, recording)
    story = _Story(process, changed or DealChange(recorded.deal, ()), recorded.tasks, recording)
    corrected = _corrected(process, entries, recorded.course)
    if retracts and len(entries) < len(recorded.course):
        corrected = (corrected or tuple(recorded.course))[: len(entries)]
    if corrected is not None:
        story.correct(corrected, told.get("lost_reason"))
    else:
        story.move_on(entries[len(recorded.course) :], told.get("lost_reason"))
    return story.change() if story.events else None


def _corrected(process: Process, told: Sequence[Entry], old: Sequence[StageEntry]) -> tuple[StageEntry, ...] | None:
    """Return the course that replaces `old`, or None when `told` does not contradict it.

    Recorded dates stay where the told entry has none, recorded further entries stay where all told stages agree.
    """
    pairs = list(zip(told, old, strict=False))
    if all(new.stage == known.stage.code and new.at in (None, known.at) for new, known in pairs):
        return None
    dates = [known.at if known.stage.code == new.stage else None for new, known in pairs]
    dates += [None] * (len(told) - len(pairs))
    same_stages = all(new.stage == known.stage.code for new, known in pairs)
    return (
        *(
            StageEntry(
                process.places[new.stage], new.at or date, process.passed(before.stage, new.stage) if before else ()
            )
            for before, new, date in zip((None, *told), told, dates, strict=False)
        ),
        *(old[len(told) :] if same_stages else ()),
    )


class _Story:
    """A deal while its course is told: its state, its new events, and what becomes of tasks."""

    def __init__(self, process: Process, start: DealChange, stored: Sequence[Task], recording: Recording) -> None:
        self.events = list(start.events)
        self._process = process
        self._recording = recording
        self._deal = start.deal
        self._stored = {task.id: task for task in stored}
        self._tasks = {task.id: task for task in (*stored, *start.tasks)}

    def move_on(self, entries: Sequence[Entry], lost_reason: str | None) -> None:
        """Add further entries as moves."""
        for entry in entries:
            present = [task for task in self._tasks.values() if task.visit == self._deal.visit]
            move = Move(new_id(), entry.stage, entry.at, lost_reason=lost_reason, fact=True)
            moved = decide_move(self._process, self._deal, present, move, self._recording)
            if isinstance(moved, Moved):
                self._deal = moved.change.deal
                self.events.append(moved.event)
                self._tasks.update((task.id, task) for task in moved.change.tasks)

    def correct(self, course: tuple[StageEntry, ...], lost_reason: str | None) -> None:
        """Replace the course told so far; the deal stands where the new one ends."""
        before, last, recording = self._deal, course[-1], self._recording
        told = msgspec.structs.replace(before, lost_reason=lost_reason or before.lost_reason)
        entered = enter_stage(self._process, told, last.stage.code, last.at, recording)
        if entered.stage == before.stage:
            entered = msgspec.structs.replace(entered, visit=before.visit, sla_breached=before.sla_breached)
        else:
            left = [task for task in self._tasks.values() if task.visit == before.visit]
            news = (*cancel_tasks(left, recording), *open_tasks(self._process, entered, recording))
            self._tasks.update((task.id, task) for task in news)
        self._deal = entered
        self.events.append(
            DealCourseCorrected(
                version=entered.version,
                recorded_at=recording.at,
                occurred_at=recording.at,
                deal_id=entered.id,
                deal=entered.state,
                before=before.state,
                actor=recording.actor,
                course=course,
            )
        )

    def change(self) -> DealChange:
        """Return all of it. The tasks of stages that were only passed through are not written."""
        tasks = tuple(
            task
            for task in self._tasks.values()
            if task != self._stored.get(task.id) and (task.id in self._stored or task.visit == self._deal.visit)
        )
        return DealChange(self._deal, tuple(self.events), tasks)
