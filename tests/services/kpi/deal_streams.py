"""Deal streams as pipeline would tell them, made by hand."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec

from shared.events.base import Names
from shared.events.codec import Message, encode
from shared.events.pipeline import (
    DealChanged,
    DealCourseCorrected,
    DealCreated,
    DealDeleted,
    DealEvent,
    DealMoved,
    DealState,
    DealTaskAdded,
    ProcessChanged,
    ProcessStage,
    Stage,
    StageEntry,
)

STAGES = {
    code: Stage(code, kind, order)
    for order, (code, kind) in enumerate(
        [("lead", "open"), ("demo", "open"), ("quote", "open"), ("won", "won"), ("lost", "lost")]
    )
}
RECORDED = datetime(2026, 11, 1, tzinfo=UTC)


def at(text: str) -> datetime:
    """Return a UTC moment: `at("2026-03-02 09:30")`."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def passed(before: Stage, after: Stage) -> tuple[Stage, ...]:
    """Return the open stages that a forward move skips."""
    if before.kind != "open" or after.kind == "lost":
        return ()
    return tuple(
        stage for stage in STAGES.values() if stage.kind == "open" and before.order < stage.order < after.order
    )


def process_changed(code: str = "std", version: int = 1) -> ProcessChanged:
    return ProcessChanged(
        version=version,
        recorded_at=RECORDED,
        code=code,
        process_version=version,
        name=Names("标准", "Standard"),
        stages=tuple(
            ProcessStage(code=stage.code, name=Names(stage.code, stage.code), kind=stage.kind, order=stage.order)
            for stage in STAGES.values()
        ),
    )


@dataclass
class Deal:
    """One deal's stream; each call appends the next event and returns the deal."""

    process: str = "std"
    id: UUID = field(default_factory=uuid4)
    events: list[DealEvent] = field(default_factory=list)

    @property
    def messages(self) -> list[Message]:
        return [encode(event) for event in self.events]

    @property
    def stream(self) -> str:
        return f"deal:{self.id}"

    @property
    def state(self) -> DealState:
        return self.events[-1].deal

    def created(self, stage: str, when: datetime | None, **fields: Any) -> "Deal":
        deal = DealState(process=self.process, process_version=1, stage=STAGES[stage], status="open", **fields)
        return self._add(DealCreated, when, msgspec.structs.replace(deal, status=STAGES[stage].kind))

    def moved(self, stage: str, when: datetime | None, **fields: Any) -> "Deal":
        target = STAGES[stage]
        deal = msgspec.structs.replace(self.state, stage=target, status=target.kind, **fields)
        skipped = passed(self.state.stage, target)
        return self._add(DealMoved, when, deal, move_id=uuid4(), passed=skipped)

    def changed(self, when: datetime | None = None, **fields: Any) -> "Deal":
        return self._add(DealChanged, when, msgspec.structs.replace(self.state, **fields), changed=tuple(fields))

    def corrected(self, *course: tuple[str, datetime | None]) -> "Deal":
        last = STAGES[course[-1][0]]
        before = None
        entries = []
        for stage, when in course:
            entries.append(StageEntry(STAGES[stage], when, passed(before, STAGES[stage]) if before else ()))
            before = STAGES[stage]
        deal = msgspec.structs.replace(self.state, stage=last, status=last.kind)
        return self._add(DealCourseCorrected, None, deal, course=tuple(entries))

    def task(self, when: datetime) -> "Deal":
        return self._add(DealTaskAdded, when, self.state, task_id=uuid4())

    def deleted(self) -> "Deal":
        return self._add(DealDeleted, None, msgspec.structs.replace(self.state, status="deleted"))

    def _add(self, kind: type[Any], when: datetime | None, deal: DealState, **fields: Any) -> "Deal":
        version = len(self.events) + 1
        event = kind(
            version=version,
            recorded_at=RECORDED + timedelta(seconds=version),
            occurred_at=when,
            deal_id=self.id,
            deal=deal,
            before=self.state if self.events else None,
            **fields,
        )
        self.events.append(event)
        return self
