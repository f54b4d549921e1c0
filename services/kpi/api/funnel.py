"""`GET /funnel`: a process stage by stage."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from services.kpi.api.context import InContext
from services.kpi.api.ranges import Day, range_errors
from services.kpi.api.scopes import visible_shares
from services.kpi.api.values import AsOfAnswer, PeriodAnswer
from services.kpi.domain.days import day_number
from services.kpi.domain.periods import asked_range
from services.kpi.store.scopes import joined
from services.kpi.use_cases.freshness import as_of
from services.kpi.use_cases.funnel import Basis, FunnelQuestion, FunnelStage, UnknownProcess, funnel
from shared.calendar import Period, local_day
from shared.events.pipeline import StageKind
from shared.web import models
from shared.web.models import MoneyBody, NamesBody
from shared.web.principal import CurrentPrincipal
from shared.web.problems import invalid, not_found

router = APIRouter(tags=["funnel"])


class FunnelQuery(models.Query):
    """`from` and `to` are local days, `to` not included; all the time when left out.

    `cohort`: the deals whose first entry into the stage lies in the range, and whether they ever went further.
    `period`: the deals that were in the stage at any time within the range, and those that advanced within it.
    """

    process: Annotated[str, Field(min_length=1, max_length=200)] = "standard"
    scope: Annotated[
        str | None, Field(max_length=250, description="`org`, `team:ID` or `person:ID`; default: yours.")
    ] = None
    from_: Day | None = Field(default=None, alias="from", description="First local day.")
    to: Day | None = Field(default=None, description="The local day behind the last one.")
    basis: Basis = "cohort"


class FunnelStageAnswer(models.Answer):
    """One stage. `reasons` tells for each number that is null why.

    `entered` has the `implied` entries in it: the stage was skipped. Dwell is that of the stays that ended within the
    range. `open` and `open_amount` stand in the stage now, whatever the range; `undated` entries are in no range.
    """

    stage: str
    name: NamesBody
    kind: StageKind
    entered: int
    reached_next: int | None
    conversion: str | None
    dwell_median_seconds: int | None
    dwell_p90_seconds: int | None
    open: int
    open_amount: list[MoneyBody]
    implied: int
    undated: int
    reasons: dict[str, str]


class FunnelAnswer(models.Answer):
    """The stages in the order of the process."""

    process: str
    scopes: list[str]
    basis: Basis
    period: PeriodAnswer
    items: list[FunnelStageAnswer]
    as_of: AsOfAnswer
    time_zone: str


@router.get("/funnel")
async def read_funnel(
    query: Annotated[FunnelQuery, Query()], context: InContext, principal: CurrentPrincipal
) -> FunnelAnswer:
    """How many deals entered each stage and went on, how long they stayed, and what stands there now."""
    today = local_day(context.clock(), context.zone)
    start, end = asked_range("total", query.from_, query.to, today)
    if errors := range_errors((start, end), "total"):
        raise invalid(errors)
    async with context.database.snapshot() as tx:
        shares = await visible_shares(tx, principal, [query.scope] if query.scope else [])
        period = Period(start, end, "total")
        question = FunnelQuestion(query.process, period, joined(shares.values()), query.basis, day_number(today))
        try:
            stages = await funnel(tx, question)
        except UnknownProcess:
            raise not_found("process") from None
        freshness = await as_of(tx)
    return FunnelAnswer(
        process=query.process,
        scopes=list(shares),
        basis=query.basis,
        period=PeriodAnswer(grain="total", start=start, end=end),
        items=[_shown(stage) for stage in stages],
        as_of=AsOfAnswer(recorded_at=freshness.recorded_at, parked_streams=freshness.parked_streams),
        time_zone=context.zone.key,
    )


def _shown(stage: FunnelStage) -> FunnelStageAnswer:
    told = stage.stage
    return FunnelStageAnswer(
        stage=told.code,
        name=NamesBody(zh=told.name.zh, en=told.name.en),
        kind=told.kind,
        entered=stage.entered,
        reached_next=stage.reached_next,
        conversion=stage.conversion,
        dwell_median_seconds=stage.dwell.median if stage.dwell else None,
        dwell_p90_seconds=stage.dwell.p90 if stage.dwell else None,
        open=stage.open,
        open_amount=[MoneyBody.of(money) for money in stage.open_amount],
        implied=stage.implied,
        undated=stage.undated,
        reasons=stage.reasons,
    )
