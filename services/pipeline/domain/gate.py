"""The gate between two stages: which criteria a move must meet, and which of them it does not."""

from collections.abc import Iterator, Sequence

from services.pipeline.domain.criteria import Evidence, Unmet
from services.pipeline.domain.deal import Deal, Task
from services.pipeline.domain.process import Process
from shared.events.base import Names

MOVE_NOT_ALLOWED = "move_not_allowed"


def unmet_criteria(process: Process, deal: Deal, tasks: Sequence[Task], target: str) -> tuple[Unmet, ...]:
    """Return EVERY criterion that `deal` with the `tasks` of its present visit does not meet for entering `target`.

    The exit criteria of the stage are asked of a deal that advances (to a later stage or to won) or is reopened. One
    that is lost or goes back is not asked for them. The entry criteria of the target are always asked for.
    """
    left, entered = process.by_code[deal.stage.code], process.by_code[target]
    advances = entered.kind == "won" or (
        entered.kind == "open" and process.places[target].order > process.places[left.code].order
    )
    asked = (*(left.exit_criteria if advances or left.kind != "open" else ()), *entered.entry_criteria)
    if not asked:
        return ()
    evidence = Evidence(deal, tasks)
    # A criterion that is asked for twice (at exit and at entry) is told once.
    return tuple(dict.fromkeys(unmet for criterion in asked for unmet in criterion.unmet(evidence)))


def unknown_move(process: Process, deal: Deal, target: str) -> Iterator[Unmet]:
    """Yield what is wrong when the process does not know the move."""
    if not process.knows_move(deal.stage.code, target):
        left, entered = process.by_code[deal.stage.code].name, process.by_code[target].name
        message = Names(
            f"流程不允许从“{left.zh}”移动到“{entered.zh}”",
            f"The process knows no move from “{left.en}” to “{entered.en}”",
        )
        yield Unmet(MOVE_NOT_ALLOWED, message, "/stage")
