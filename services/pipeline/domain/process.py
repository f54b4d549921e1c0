"""A sales process as data: stages with their tasks, gates, SLA and KPIs, and the moves between them.

`moves` says which change of stage the process knows:

- `"forward"`: from an open stage to any later open stage or to any won or lost stage, and from a won or lost stage
  back to any open one (reopening). Stages may be skipped; moving back between open stages is not known.
- `"any"`: every change of stage.
- pairs `[from, to]`: exactly these.

A published version never changes, and a deal keeps the version it was made under.
"""

import re
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Literal

import msgspec

from services.pipeline.domain.criteria import Criterion
from shared.calendar import BusinessCalendar
from shared.events.base import Names
from shared.events.pipeline import Stage, StageKind, StageKpi

StageClock = Literal["business", "calendar"]

_DURATION = re.compile(
    r"P(?=.)(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?=.)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)S)?)?"
)


@lru_cache(maxsize=256)
def duration(text: str) -> timedelta:
    """Return an ISO 8601 duration of weeks, days, hours, minutes and seconds; raises ValueError."""
    found = _DURATION.fullmatch(text)
    if found is None:
        message = f"{text!r} is not a duration like P5D or PT4H"
        raise ValueError(message)
    return timedelta(**{unit: int(number) for unit, number in found.groupdict("0").items()})


class TaskTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """A task that entering the stage creates; `due` is an ISO 8601 duration after the entry."""

    code: str
    name: Names
    mandatory: bool = True
    due: str | None = None


class StageDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """One stage: its standard (tasks, criteria, SLA) and the KPIs it is steered by.

    `win_probability` and the targets of KPIs are decimal texts; `sla` is an ISO 8601 duration by `clock`.
    """

    code: str
    name: Names
    kind: StageKind = "open"
    win_probability: str | None = None
    sla: str | None = None
    clock: StageClock = "business"
    tasks: tuple[TaskTemplate, ...] = ()
    exit_criteria: tuple[Criterion, ...] = ()
    entry_criteria: tuple[Criterion, ...] = ()
    kpis: tuple[StageKpi, ...] = ()

    def after(self, start: datetime, length: str, calendar: BusinessCalendar) -> datetime:
        """Return the moment when `length` has passed after `start` by this stage's clock."""
        if self.clock == "business":
            return calendar.add_working_time(start, duration(length))
        return start + duration(length)


class Process(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One version of a process."""

    code: str
    version: int = 1
    name: Names
    stages: tuple[StageDefinition, ...]
    moves: Literal["forward", "any"] | tuple[tuple[str, str], ...] = "forward"

    @cached_property
    def by_code(self) -> dict[str, StageDefinition]:
        return {stage.code: stage for stage in self.stages}

    @cached_property
    def places(self) -> dict[str, Stage]:
        """Each stage as events tell it, with its place 0, 1, ... in the process."""
        return {stage.code: Stage(stage.code, stage.kind, order) for order, stage in enumerate(self.stages)}

    @property
    def first(self) -> StageDefinition:
        """The stage in which a deal begins: the first open one."""
        return next(stage for stage in self.stages if stage.kind == "open")

    def knows_move(self, start: str, target: str) -> bool:
        """Tell whether the process knows the move between two different stages."""
        if self.moves == "any":
            return True
        if self.moves != "forward":
            return (start, target) in self.moves
        left, entered = self.places[start], self.places[target]
        if left.kind != "open" or entered.kind != "open":
            return left.kind != entered.kind and "open" in {left.kind, entered.kind}
        return entered.order > left.order

    def passed(self, start: str, target: str) -> tuple[Stage, ...]:
        """Return the open stages that a forward move (to an open or a won stage) skips, in order."""
        left, entered = self.places[start], self.places[target]
        if left.kind != "open" or entered.kind == "lost":
            return ()
        end = entered.order if entered.kind == "open" else len(self.stages)
        return tuple(place for place in self.places.values() if place.kind == "open" and left.order < place.order < end)

    def win_probability(self, stage: str) -> Decimal | None:
        """Return the win probability of a stage; 1 and 0 for won and lost ones that name none."""
        definition = self.by_code[stage]
        if definition.win_probability is not None:
            return Decimal(definition.win_probability)
        return {"won": Decimal(1), "lost": Decimal(0)}.get(definition.kind)
