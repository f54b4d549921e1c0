"""What makes a process well formed: every fault is found at once, each with a pointer into the definition."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple

import msgspec

from services.pipeline.domain.criteria import (
    DEAL_FIELDS,
    Criterion,
    FieldAtLeast,
    FieldEquals,
    FieldPresent,
    TaskDone,
    TaskEvidence,
    TasksDone,
    as_number,
)
from services.pipeline.domain.process import Process, StageDefinition, duration
from shared.events.base import Names

# Ten years. Working time is counted day by day, and every date it leads to must exist.
LONGEST_DURATION = timedelta(days=3660)
_MESSAGES = {
    "duplicate_code": Names("代码重复", "This code is used twice"),
    "no_open_stage": Names("至少需要一个进行中的阶段", "At least one open stage is needed"),
    "no_won_stage": Names("至少需要一个赢单阶段", "At least one won stage is needed"),
    "invalid_duration": Names(
        "应为不超过 3660 天的 ISO 8601 时长，例如 P5D、PT4H",
        "Not an ISO 8601 duration of at most 3660 days, such as P5D or PT4H",
    ),
    "closed_stage_sla": Names("赢单或输单阶段不能有时限", "A won or lost stage cannot have an SLA"),
    "invalid_probability": Names("赢率应为 0 到 1 之间的小数", "A win probability is a decimal from 0 to 1"),
    "invalid_number": Names("不是十进制数", "Not a decimal number"),
    "unknown_task": Names("本阶段没有这个任务", "This stage has no such task"),
    "unknown_field": Names(
        "没有这个字段；自定义字段写作 fields.名称", "No such field; a free field is written fields.name"
    ),
    "task_criterion_at_entry": Names(
        "进入条件只能针对字段；任务属于所在阶段的退出条件",
        "An entry criterion asks for fields; tasks belong to the exit criteria of their stage",
    ),
    "unknown_stage": Names("流程中没有这个阶段", "The process has no such stage"),
    "same_stage": Names("移动的起点和终点不能相同", "A move must lead to another stage"),
    "duplicate_move": Names("移动重复", "This move is told twice"),
}


class Fault(NamedTuple):
    """One thing that is wrong in a definition: a JSON pointer to it and a stable code."""

    pointer: str
    code: str

    @property
    def message(self) -> Names:
        return _MESSAGES[self.code]


def faults_of(process: Process) -> tuple[Fault, ...]:
    """Return everything that is wrong with `process`; empty when it may be published."""
    return (*_stage_faults(process), *_kind_faults(process), *_move_faults(process))


def with_mandatory_tasks_asked(process: Process) -> Process:
    """Return `process` where each stage that has a mandatory task asks for it at its exit: nothing gates unseen."""
    return msgspec.structs.replace(process, stages=tuple(_asking(stage) for stage in process.stages))


def _asking(stage: StageDefinition) -> StageDefinition:
    asks = any(isinstance(criterion, TasksDone) for criterion in stage.exit_criteria)
    if asks or not any(task.mandatory for task in stage.tasks):
        return stage
    return msgspec.structs.replace(stage, exit_criteria=(TasksDone(), *stage.exit_criteria))


def _kind_faults(process: Process) -> Iterator[Fault]:
    kinds = {stage.kind for stage in process.stages}
    for kind in ("open", "won"):
        if kind not in kinds:
            yield Fault("/stages", f"no_{kind}_stage")


def _duplicates(codes: Sequence[str]) -> Iterator[int]:
    """Yield the places of all codes that were there before."""
    seen: Counter[str] = Counter()
    for place, code in enumerate(codes):
        if seen[code]:
            yield place
        seen[code] += 1


def _stage_faults(process: Process) -> Iterator[Fault]:
    for place in _duplicates([stage.code for stage in process.stages]):
        yield Fault(f"/stages/{place}/code", "duplicate_code")
    for place, stage in enumerate(process.stages):
        at = f"/stages/{place}"
        yield from _standard_faults(stage, at)
        yield from _task_faults(stage, at)
        for number, criterion in enumerate(stage.exit_criteria):
            yield from _criterion_faults(criterion, stage, f"{at}/exit_criteria/{number}")
        for number, criterion in enumerate(stage.entry_criteria):
            if isinstance(criterion, TaskDone | TasksDone | TaskEvidence):
                yield Fault(f"{at}/entry_criteria/{number}", "task_criterion_at_entry")
            else:
                yield from _criterion_faults(criterion, stage, f"{at}/entry_criteria/{number}")


def _standard_faults(stage: StageDefinition, at: str) -> Iterator[Fault]:
    if stage.sla is not None:
        if stage.kind != "open":
            yield Fault(f"{at}/sla", "closed_stage_sla")
        yield from _duration_faults(stage.sla, f"{at}/sla")
    if stage.win_probability is not None:
        number = as_number(stage.win_probability)
        if number is None or not Decimal(0) <= number <= Decimal(1):
            yield Fault(f"{at}/win_probability", "invalid_probability")
    for place, kpi in enumerate(stage.kpis):
        if kpi.target is not None and as_number(kpi.target) is None:
            yield Fault(f"{at}/kpis/{place}/target", "invalid_number")


def _duration_faults(text: str, at: str) -> Iterator[Fault]:
    try:
        too_long = duration(text) > LONGEST_DURATION
    except (ValueError, OverflowError):
        too_long = True
    if too_long:
        yield Fault(at, "invalid_duration")


def _task_faults(stage: StageDefinition, at: str) -> Iterator[Fault]:
    for number in _duplicates([task.code for task in stage.tasks]):
        yield Fault(f"{at}/tasks/{number}/code", "duplicate_code")
    for number, task in enumerate(stage.tasks):
        if task.due is not None:
            yield from _duration_faults(task.due, f"{at}/tasks/{number}/due")


def _criterion_faults(criterion: Criterion, stage: StageDefinition, at: str) -> Iterator[Fault]:
    match criterion:
        case TaskDone(task=task) | TaskEvidence(task=str(task)):
            if task not in {template.code for template in stage.tasks}:
                yield Fault(f"{at}/task", "unknown_task")
        case FieldPresent(field=field) | FieldAtLeast(field=field) | FieldEquals(field=field):
            if field not in DEAL_FIELDS and not (field.startswith("fields.") and field.removeprefix("fields.")):
                yield Fault(f"{at}/field", "unknown_field")
        case _:
            pass
    if isinstance(criterion, FieldAtLeast) and as_number(criterion.value) is None:
        yield Fault(f"{at}/value", "invalid_number")


def _move_faults(process: Process) -> Iterator[Fault]:
    if isinstance(process.moves, str):
        return
    known = {stage.code for stage in process.stages}
    for place, pair in enumerate(process.moves):
        for end, stage in enumerate(pair):
            if stage not in known:
                yield Fault(f"/moves/{place}/{end}", "unknown_stage")
        if pair[0] == pair[1]:
            yield Fault(f"/moves/{place}", "same_stage")
    for place in _duplicates([" ".join(pair) for pair in process.moves]):
        yield Fault(f"/moves/{place}", "duplicate_move")
