"""One move of a deal: allowed by the process and its gates, refused with every reason, or recorded as a fact."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from services.pipeline.domain.criteria import Unmet
from services.pipeline.domain.deal import Deal, DealChange, Task
from services.pipeline.domain.gate import unknown_move, unmet_criteria
from services.pipeline.domain.process import Process
from services.pipeline.domain.stage_entry import Recording, cancel_tasks, enter_stage, open_tasks
from shared.events.pipeline import DealMoved

Refusal = Literal["gate_unmet", "move_not_allowed", "already_in_stage", "unknown_stage", "lost_reason_required"]
LOST_REASON = "lost_reason"


@dataclass(frozen=True, slots=True)
class Move:
    """A wanted change of stage.

    A command is refused when it breaks a gate, unless `override` gives a reason. A fact has already happened
    elsewhere: it is recorded as it is. `occurred_at` is None where nobody knows when (facts only).
    """

    id: UUID
    to_stage: str
    occurred_at: datetime | None
    reason: str | None = None
    lost_reason: str | None = None
    override: str | None = None
    fact: bool = False


@dataclass(frozen=True, slots=True)
class Moved:
    """The deal after the move, and what was announced of it."""

    change: DealChange
    event: DealMoved


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing changes; `unmet` names every criterion that is not met."""

    code: Refusal
    unmet: tuple[Unmet, ...] = ()


def decide_move(
    process: Process, deal: Deal, tasks: Sequence[Task], move: Move, recording: Recording
) -> Moved | Refused:
    """Decide one move of `deal`, whose present visit has `tasks`."""
    if move.to_stage not in process.by_code:
        return Refused("unknown_stage")
    if move.to_stage == deal.stage.code:
        return Refused("already_in_stage")
    unknown = tuple(unknown_move(process, deal, move.to_stage))
    unmet = unmet_criteria(process, deal, tasks, move.to_stage)
    needs_reason = process.places[move.to_stage].kind == "lost" and not move.lost_reason
    if not move.fact:
        if needs_reason:
            return Refused("lost_reason_required")
        if move.override is None and (unknown or unmet):
            return Refused("move_not_allowed" if unknown else "gate_unmet", unknown + unmet)
    broke = (*(each.criterion for each in unknown + unmet), *((LOST_REASON,) if needs_reason else ()))
    return _moved(process, deal, tasks, move, (recording, broke))


def _moved(
    process: Process, deal: Deal, tasks: Sequence[Task], move: Move, recorded: tuple[Recording, tuple[str, ...]]
) -> Moved:
    recording, broke = recorded
    told = msgspec.structs.replace(deal, lost_reason=move.lost_reason)
    after = enter_stage(process, told, move.to_stage, move.occurred_at, recording)
    event = DealMoved(
        version=after.version,
        recorded_at=recording.at,
        occurred_at=move.occurred_at,
        deal_id=deal.id,
        deal=after.state,
        before=deal.state,
        actor=recording.actor,
        move_id=move.id,
        broke=broke,
        overridden=bool(broke) and move.override is not None,
        passed=process.passed(deal.stage.code, move.to_stage),
    )
    reason = move.override or move.reason
    change = DealChange(
        after,
        (event,),
        (*cancel_tasks(tasks, recording), *open_tasks(process, after, recording)),
        {after.version: reason} if reason else None,
    )
    return Moved(change, event)
