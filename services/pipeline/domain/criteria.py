"""The criteria of gates as typed data, and what each says when it is not met."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import NamedTuple
from uuid import UUID

import msgspec

from services.pipeline.domain.deal import Deal, Scalar, Task
from shared.events.base import Names
from shared.money import to_text

# What a criterion may ask of a deal beside `fields.<name>`.
DEAL_FIELDS = (
    "amount", "currency", "customer_id", "expected_close_on", "external_id", "lost_reason", "name", "owner", "product",
    "source",
)  # fmt: skip


class Unmet(NamedTuple):
    """A criterion that is not met: its code, what to do, and a JSON pointer into the deal to where."""

    criterion: str
    message: Names
    pointer: str


class Evidence(NamedTuple):
    """What a gate looks at: a deal and the tasks of its present visit."""

    deal: Deal
    tasks: Sequence[Task]


def read_field(deal: Deal, field: str) -> Scalar:
    """Return a field of a deal by its name (`amount` as a decimal text, `fields.x` for free ones); None if unset."""
    if field.startswith("fields."):
        return deal.fields.get(field.removeprefix("fields."))
    if field == "amount":
        return None if deal.amount is None or deal.currency is None else to_text(deal.amount, deal.currency)
    found: str | UUID | date | None = getattr(deal, field)
    return None if found is None else str(found)


def field_pointer(field: str) -> str:
    """Return the JSON pointer of a field name: `fields.fit/score` is `/fields/fit~1score`."""
    head, _, rest = field.partition(".")
    return f"/{head}" + (f"/{rest.replace('~', '~0').replace('/', '~1')}" if rest else "")


def as_number(value: object) -> Decimal | None:
    """Return a JSON number or decimal text as a Decimal; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


class _Criterion(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", omit_defaults=True):
    code: str | None = None
    message: Names | None = None

    def _unmet(self, default_code: str, default: Names, pointer: str) -> Unmet:
        return Unmet(self.code or default_code, self.message or default, pointer)


class TaskDone(_Criterion, frozen=True, kw_only=True, tag="task_done"):
    """The named task of the stage is done."""

    task: str

    def unmet(self, evidence: Evidence) -> tuple[Unmet, ...]:
        task = next((task for task in evidence.tasks if task.code == self.task), None)
        if task is not None and task.status == "done":
            return ()
        name = (task.name if task else None) or Names(self.task, self.task)
        default = Names(f"任务“{name.zh}”尚未完成", f"The task “{name.en}” is not done")
        return (self._unmet(f"task_done:{self.task}", default, f"/tasks/{self.task}"),)


class TasksDone(_Criterion, frozen=True, kw_only=True, tag="tasks_done"):
    """Every mandatory task of the stage is done; each one that is not is told by itself."""

    def unmet(self, evidence: Evidence) -> tuple[Unmet, ...]:
        found: list[Unmet] = []
        for task in evidence.tasks:
            if task.mandatory and task.status != "done":
                name = task.name or Names(task.title or "", task.title or "")
                default = Names(f"必做任务“{name.zh}”尚未完成", f"The mandatory task “{name.en}” is not done")
                place = task.code or str(task.id)
                found.append(Unmet(f"{self.code or 'tasks_done'}:{place}", self.message or default, f"/tasks/{place}"))
        return tuple(found)


class FieldPresent(_Criterion, frozen=True, kw_only=True, tag="field_present"):
    """The field has a value that is not blank."""

    field: str

    def unmet(self, evidence: Evidence) -> tuple[Unmet, ...]:
        value = read_field(evidence.deal, self.field)
        if value is not None and str(value).strip():
            return ()
        default = Names(f"需要填写 {self.field}", f"{self.field} is needed")
        return (self._unmet(f"field_present:{self.field}", default, field_pointer(self.field)),)


class FieldAtLeast(_Criterion, frozen=True, kw_only=True, tag="field_at_least"):
    """The field is a number not below `value`; an amount is compared in its own currency."""

    field: str
    value: str | int | float

    def unmet(self, evidence: Evidence) -> tuple[Unmet, ...]:
        number, least = as_number(read_field(evidence.deal, self.field)), as_number(self.value)
        if number is not None and least is not None and number >= least:
            return ()
        default = Names(f"{self.field} 至少应为 {self.value}", f"{self.field} must be at least {self.value}")
        return (self._unmet(f"field_at_least:{self.field}", default, field_pointer(self.field)),)


class FieldEquals(_Criterion, frozen=True, kw_only=True, tag="field_equals"):
    """The field has exactly this value; numbers are compared as numbers."""

    field: str
    value: str | int | float | bool

    def unmet(self, evidence: Evidence) -> tuple[Unmet, ...]:
        found = read_field(evidence.deal, self.field)
        number = as_number(found)
        if (found == self.value and isinstance(found, bool) == isinstance(self.value, bool)) or (
            number is not None and number == as_number(self.value)
        ):
            return ()
        shown = str(self.value).lower() if isinstance(self.value, bool) else self.value
        default = Names(f"{self.field} 应为 {shown}", f"{self.field} must be {shown}")
        return (self._unmet(f"field_equals:{self.field}", default, field_pointer(self.field)),)


class TaskEvidence(_Criterion, frozen=True, kw_only=True, tag="evidence"):
    """A done task of the stage (`task`, or any) has a value that is not blank under `field` in its result."""

    field: str
    task: str | None = None

    def unmet(self, evidence: Evidence) -> tuple[Unmet, ...]:
        for task in evidence.tasks:
            value = (task.result or {}).get(self.field) if task.status == "done" else None
            if value is not None and str(value).strip() and self.task in (None, task.code):
                return ()
        place = f"/tasks/{self.task}/result/{self.field}" if self.task else f"/tasks/*/result/{self.field}"
        default = Names(f"缺少任务结果中的证据 {self.field}", f"Evidence {self.field} is missing in the task's result")
        return (self._unmet(f"evidence:{self.field}", default, place),)


Criterion = TaskDone | TasksDone | FieldPresent | FieldAtLeast | FieldEquals | TaskEvidence
