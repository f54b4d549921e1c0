"""`GET /values`: the KPIs of scopes and periods, as exact decimal texts."""

from collections.abc import Sequence
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.api.context import InContext
from services.kpi.api.ranges import TOO_MANY, Day, range_errors
from services.kpi.api.scopes import visible_shares
from services.kpi.domain.definitions import DEFINITIONS, Dimension
from services.kpi.domain.periods import asked_range
from services.kpi.store.sums import Filters
from services.kpi.use_cases.freshness import ConsistencyToken, as_of, wait_until_counted
from services.kpi.use_cases.values import Item, Question, TooManyItems, answer
from shared.calendar import Grain, local_day, periods_between
from shared.events.kpi import Unit
from shared.web import models
from shared.web.models import CurrencyCode, Rfc3339
from shared.web.principal import CurrentPrincipal
from shared.web.problems import FieldError, invalid

router = APIRouter(tags=["values"])

Named = Annotated[str, Field(min_length=1, max_length=250)]


class ValuesQuery(models.Query):
    """`from` and `to` are local days, `to` not included.

    Without both the period that holds today is meant (for `total`: all the time). Without `to` the range lasts to the
    end of today's period, without `from` it is the last period before `to`. Periods at its ends are cut to it.
    """

    kpi: Annotated[list[Named], Field(min_length=1, max_length=50, description="A key of `GET /definitions`.")]
    scope: list[Named] = Field(
        default_factory=list, max_length=200, description="`org`, `team:ID` or `person:ID`; yours when left out."
    )
    grain: Grain = "total"
    from_: Day | None = Field(default=None, alias="from", description="First local day.")
    to: Day | None = Field(default=None, description="The local day behind the last one.")
    by: list[Dimension] = Field(default_factory=list, max_length=5, description="Break down by these.")
    process: Annotated[str | None, Field(max_length=200)] = None
    stage: Annotated[str | None, Field(max_length=200)] = None
    currency: Annotated[
        CurrencyCode | None, Field(description="Only KPIs in money have one; counts and rates are of all deals.")
    ] = None
    consistency_token: Annotated[
        str | None, Field(pattern=r"^[^@]{1,200}@[0-9]{1,18}$", description="From a move: wait until it is counted.")
    ] = None


class PeriodAnswer(models.Answer):
    """The local days `[start, end)`."""

    grain: Grain
    start: date
    end: date


class ValueAnswer(models.Answer):
    """`value` = `numerator` / `denominator` (1 where it is a sum), decimal texts; a null value has a `reason`.

    `undated` counts what belongs to this KPI, scope and breakdown but has no day: it is in no period.
    """

    kpi: str
    scope: str
    period: PeriodAnswer
    by: dict[str, str | None]
    value: str | None
    unit: Unit
    currency: str | None
    numerator: str | None
    denominator: str | None
    sample_size: int
    undated: int
    reason: str | None


class AsOfAnswer(models.Answer):
    """`recorded_at` of the newest counted event; `parked_streams` stand still until somebody looks after them."""

    recorded_at: Rfc3339 | None
    parked_streams: int


class ValuesAnswer(models.Answer):
    """`counted` tells whether the move of the `consistency_token` is in these values; null when none was given."""

    items: list[ValueAnswer]
    as_of: AsOfAnswer
    definition_versions: dict[str, int]
    time_zone: str
    counted: bool | None = None


@router.get("/values")
async def read_values(
    query: Annotated[ValuesQuery, Query()], context: InContext, principal: CurrentPrincipal
) -> ValuesAnswer:
    """The values of KPIs for each scope and period; money gives one item per currency unless `currency` is named."""
    days = asked_range(query.grain, query.from_, query.to, local_day(context.clock(), context.zone))
    _check(query, days)
    counted = None
    if query.consistency_token is not None:
        token = ConsistencyToken.parse(query.consistency_token)
        counted = await wait_until_counted(context.database, context.commits, token)
    async with context.database.snapshot() as tx:
        question = Question(
            kpis=tuple(DEFINITIONS[key] for key in dict.fromkeys(query.kpi)),
            scopes=await visible_shares(tx, principal, query.scope),
            periods=periods_between(*days, query.grain),
            by=tuple(dict.fromkeys(query.by)),
            filters=Filters(query.process or "", query.stage or "", query.currency or ""),
        )
        items = await _items(tx, question)
        freshness = await as_of(tx)
    return ValuesAnswer(
        items=[_shown(item) for item in items],
        as_of=AsOfAnswer(recorded_at=freshness.recorded_at, parked_streams=freshness.parked_streams),
        definition_versions={definition.key: definition.version for definition in question.kpis},
        time_zone=context.zone.key,
        counted=counted,
    )


def unknown_kpis(keys: Sequence[str]) -> list[FieldError]:
    """Return an error for each key that names no KPI."""
    return [
        FieldError("", "unknown_kpi", {"zh": f"没有名为 {key} 的 KPI", "en": f"there is no KPI {key}"}, parameter="kpi")
        for key in keys
        if key not in DEFINITIONS
    ]


def _check(query: ValuesQuery, days: tuple[date, date]) -> None:
    """Raise 422 with everything that is wrong with a question."""
    errors = unknown_kpis(query.kpi)
    errors += [
        FieldError(
            "", "no_such_dimension", {"zh": f"{key} 没有 {name} 维度", "en": f"{key} has no {name}"}, parameter=part
        )
        for key in query.kpi
        for part, name in [*(("by", name) for name in query.by), *([("stage", "stage")] if query.stage else [])]
        if key in DEFINITIONS and name not in DEFINITIONS[key].dimensions
    ]
    errors += range_errors(days, query.grain, answers=len(query.kpi) * max(len(query.scope), 1))
    if errors:
        raise invalid(errors)


async def _items(tx: AsyncConnection, question: Question) -> list[Item]:
    try:
        return await answer(tx, question)
    except TooManyItems:
        raise invalid([TOO_MANY]) from None


def _shown(item: Item) -> ValueAnswer:
    value, period = item.value, item.period
    return ValueAnswer(
        kpi=item.definition.key,
        scope=item.scope,
        period=PeriodAnswer(grain=period.grain, start=period.start, end=period.end),
        by=dict(item.by),
        value=value.value,
        unit=item.definition.unit,
        currency=item.currency,
        numerator=value.numerator,
        denominator=value.denominator,
        sample_size=value.sample_size,
        undated=item.undated,
        reason=value.reason,
    )
