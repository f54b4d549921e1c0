"""The funnel of a process: how many deals entered each stage, went on, how long it took, and what stands there now."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.domain.days import UNDATED, day_number
from services.kpi.domain.definitions import NOTHING, Sums
from services.kpi.domain.facts import ENTRIES, IMPLIED, OPEN_VALUE, REACHED
from services.kpi.domain.series import UNDATED_BUCKET
from services.kpi.domain.values import NO_DATA, six_digits
from services.kpi.store.generations import active_generation
from services.kpi.store.processes import stages_of
from services.kpi.store.scopes import FIRST_DAY, LAST_DAY, Share
from services.kpi.store.sums import Filters, Reading, read_sums
from services.kpi.store.visits import Dwell, Presence, Where, dwells, presences
from shared.calendar import Period
from shared.events.pipeline import ProcessStage
from shared.money import Money

Basis = Literal["cohort", "period"]
TERMINAL = "terminal_stage"


class UnknownProcess(LookupError):  # noqa: N818 - the name of the fact
    """Nobody told of this process."""


@dataclass(frozen=True, slots=True)
class FunnelQuestion:
    """A process in a period, for the owners of a scope; `today` (a day number) decides who belongs to it now."""

    process: str
    period: Period
    shares: Sequence[Share]
    basis: Basis
    today: int


@dataclass(frozen=True, slots=True)
class FunnelStage:
    """One stage. `reasons` says for each number that is null why.

    `open` and `open_amount` are what stands in the stage at present, whenever it came.
    """

    stage: ProcessStage
    entered: int
    reached_next: int | None
    conversion: str | None
    dwell: Dwell | None
    open: int
    open_amount: tuple[Money, ...]
    implied: int
    undated: int
    reasons: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Counted:
    """What the cells say of one stage."""

    reached: Sums = NOTHING
    implied: int = 0
    undated: int = 0
    standing: dict[str, Sums] = field(default_factory=lambda: defaultdict(lambda: NOTHING))


async def funnel(tx: AsyncConnection, question: FunnelQuestion) -> list[FunnelStage]:
    """Return the stages in the order of the process; raises UnknownProcess."""
    stages = await stages_of(tx, question.process)
    if stages is None:
        raise UnknownProcess
    generation = await active_generation(tx)
    first, last = day_number(question.period.start), day_number(question.period.end)
    where = Where(generation, question.process, first, last, question.shares)
    counted = await _counted(tx, generation, question, (first, last))
    durations = await dwells(tx, where)
    present = await presences(tx, where) if question.basis == "period" else {}
    return [
        _stage(stage, counted[stage.code], durations.get(stage.code), _progress(question, stage, counted, present))
        for stage in stages
    ]


def _progress(
    question: FunnelQuestion, stage: ProcessStage, counted: dict[str, _Counted], present: dict[str, Presence]
) -> Presence:
    """Return how many deals came into a stage and how many of them went on, on the basis asked for."""
    if question.basis == "period" and stage.kind == "open":
        return present.get(stage.code, Presence(0, 0))
    reached = counted[stage.code].reached
    return Presence(reached.n, reached.num)


def _stage(stage: ProcessStage, counted: _Counted, dwell: Dwell | None, progress: Presence) -> FunnelStage:
    reasons: dict[str, str] = {}
    conversion = reached_next = None
    if stage.kind != "open":
        reasons = dict.fromkeys(("reached_next", "conversion"), TERMINAL)
    else:
        reached_next = progress.advanced
        conversion = six_digits(progress.advanced, progress.present) if progress.present else None
        reasons = {} if progress.present else {"conversion": NO_DATA}
    if dwell is None:
        why = TERMINAL if stage.kind != "open" else NO_DATA
        reasons |= dict.fromkeys(("dwell_median_seconds", "dwell_p90_seconds"), why)
    return FunnelStage(
        stage=stage,
        entered=progress.present,
        reached_next=reached_next,
        conversion=conversion,
        dwell=dwell,
        open=sum(sums.n for sums in counted.standing.values()),
        open_amount=tuple(
            Money(sums.num, currency) for currency, sums in sorted(counted.standing.items()) if currency and sums.n
        ),
        implied=counted.implied,
        undated=counted.undated,
        reasons=reasons,
    )


async def _counted(
    tx: AsyncConnection, generation: int, question: FunnelQuestion, days: tuple[int, int]
) -> dict[str, _Counted]:
    counted: dict[str, _Counted] = defaultdict(_Counted)
    readings = [*_readings(question, days)]
    for found in await read_sums(tx, generation, readings, [FIRST_DAY], ("stage",)):
        stage = counted[str(found.group[0])]
        if found.question == OPEN_VALUE:
            stage.standing[found.currency] = stage.standing[found.currency].plus(found.sums)
        elif found.bucket == UNDATED_BUCKET:
            stage.undated += found.sums.n
        elif found.question == REACHED:
            stage.reached = stage.reached.plus(found.sums)
        else:
            stage.implied += found.sums.n
    return counted


def _readings(question: FunnelQuestion, days: tuple[int, int]) -> Iterator[Reading]:
    filters = Filters(process=question.process)
    for owner in {share.owner for share in question.shares}:
        yield Reading(ENTRIES, ENTRIES, owner, UNDATED, UNDATED + 1, *filters)
    for share in question.shares:
        first, last = max(days[0], share.first), min(days[1], share.last)
        if first < last:
            yield Reading(REACHED, REACHED, share.owner, first, last, *filters)
            yield Reading(IMPLIED, IMPLIED, share.owner, first, last, *filters)
        if share.first <= question.today < share.last:
            # Undated openings too: the deal stands there, whenever it came.
            yield Reading(OPEN_VALUE, OPEN_VALUE, share.owner, UNDATED, LAST_DAY + 1, *filters)
