"""Answers what KPIs are: for scopes, periods and breakdowns, from day cells."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.domain.days import UNDATED, day_number
from services.kpi.domain.definitions import NOTHING, Definition, Dimension
from services.kpi.domain.series import Bucket, Group, Series, flows, gauges
from services.kpi.domain.values import Value, evaluate
from services.kpi.store.generations import active_generation
from services.kpi.store.scopes import EVERYBODY, FIRST_DAY, Share, all_owners, owner_names
from services.kpi.store.sums import Filters, Reading, read_sums
from services.kpi.use_cases.readings import period_readings
from shared.calendar import Period

LARGEST_ANSWER = 5000
EVERYTHING = Filters()


class TooManyItems(ValueError):  # noqa: N818 - the name of the fact
    """The answer would have more than LARGEST_ANSWER items."""


@dataclass(frozen=True, slots=True)
class Question:
    """Each of `kpis` for each of `scopes` (as asked for, with its owners) in each of the consecutive `periods`."""

    kpis: tuple[Definition, ...]
    scopes: Mapping[str, Sequence[Share]]
    periods: Sequence[Period]
    by: tuple[Dimension, ...] = ()
    filters: Filters = EVERYTHING

    @property
    def bounds(self) -> list[int]:
        return [*(day_number(period.start) for period in self.periods), day_number(self.periods[-1].end)]


@dataclass(frozen=True, slots=True)
class Item:
    """One value; `by` has the group's value of each dimension (null: none), `undated` what belongs to no period."""

    definition: Definition
    scope: str
    period: Period
    by: Mapping[str, str | None]
    currency: str | None
    value: Value
    undated: int


@dataclass(frozen=True, slots=True)
class _Asked:
    """One KPI of one scope: what readings and sums are numbered by."""

    definition: Definition
    scope: str
    shares: Sequence[Share]

    def belongs(self, owner: int, end: int) -> bool:
        """Tell whether an owner belongs to the scope on the last day before `end`."""
        return any(share.owner == owner and share.first < end <= share.last for share in self.shares)


async def answer(tx: AsyncConnection, question: Question) -> list[Item]:
    """Return the items in the order kpi, scope, group, period; raises TooManyItems."""
    if len(question.kpis) * len(question.scopes) * len(question.periods) > LARGEST_ANSWER:
        raise TooManyItems
    scopes = await _shares_by_owner(tx, question) if "owner" in question.by else question.scopes
    asked = [_Asked(definition, *scope) for definition in question.kpis for scope in scopes.items()]
    series = await _series(tx, question, asked)
    if "owner" in question.by:
        series = await _named(tx, question, series)
    items = [item for one, groups in zip(asked, series, strict=True) for item in _items(question, one, groups)]
    if len(items) > LARGEST_ANSWER:
        raise TooManyItems
    return items


async def _shares_by_owner(tx: AsyncConnection, question: Question) -> dict[str, Sequence[Share]]:
    """Take the organisation's owners one by one: its own cells do not tell them apart."""
    everybody = await all_owners(tx) if EVERYBODY in question.scopes.values() else ()
    return {scope: everybody if shares == EVERYBODY else shares for scope, shares in question.scopes.items()}


async def _series(tx: AsyncConnection, question: Question, asked: Sequence[_Asked]) -> list[dict[Group, Series]]:
    """Return the series of each of `asked` by currency and breakdown."""
    generation = await active_generation(tx)
    # Whose amount stands at the end of a period is decided owner by owner.
    flow_readings = [*_readings(question, asked, of_gauges=False)]
    gauge_readings = [*_readings(question, asked, of_gauges=True)]
    found = [
        *await read_sums(tx, generation, flow_readings, question.bounds, question.by),
        *await read_sums(tx, generation, gauge_readings, question.bounds, (*question.by, "owner")),
    ]
    buckets: list[list[Bucket]] = [[] for _ in asked]
    for one in found:
        group = (one.currency, *one.group[: len(question.by)])
        buckets[one.question].append(
            Bucket(group, int(one.group[-1]) if _is_gauge(asked[one.question]) else 0, one.bucket, one.sums)
        )
    ends = question.bounds[1:]
    return [
        gauges(mine, ends, one.belongs) if _is_gauge(one) else flows(mine, len(ends))
        for one, mine in zip(asked, buckets, strict=True)
    ]


def _is_gauge(asked: _Asked) -> bool:
    return asked.definition.kind == "gauge"


def _readings(question: Question, asked: Sequence[_Asked], *, of_gauges: bool) -> Iterator[Reading]:
    begin, end = question.bounds[0], question.bounds[-1]
    for number, one in enumerate(asked):
        if _is_gauge(one) == of_gauges:
            measure, filters = one.definition.measure, question.filters.on(one.definition)
            for owner in {share.owner for share in one.shares}:
                yield Reading(number, measure, owner, UNDATED, UNDATED + 1, *filters)
                if of_gauges:
                    yield Reading(number, measure, owner, FIRST_DAY, end, *filters)
            if not of_gauges:
                yield from period_readings(number, one.definition, one.shares, (begin, end), filters)


async def _named(
    tx: AsyncConnection, question: Question, series: Sequence[Mapping[Group, Series]]
) -> list[dict[Group, Series]]:
    """Name owners instead of numbering them; both keys of a person become one."""
    place = 1 + question.by.index("owner")
    numbers = {int(group[place]) for groups in series for group in groups}
    names = await owner_names(tx, numbers)
    renamed: list[dict[Group, Series]] = []
    for groups in series:
        merged: dict[Group, Series] = {}
        for group, one in groups.items():
            named = (*group[:place], names.get(int(group[place])) or "", *group[place + 1 :])
            merged[named] = merged[named].plus(one) if named in merged else one
        renamed.append(merged)
    return renamed


def _items(question: Question, asked: _Asked, groups: Mapping[Group, Series]) -> Iterator[Item]:
    definition = asked.definition
    nothing = Series([NOTHING] * len(question.periods))
    for group in _groups(question, definition, groups):
        series = groups.get(group, nothing)
        currency = str(group[0]) or None if definition.unit == "money" else None
        by: dict[str, str | None] = {
            name: str(value) or None for name, value in zip(question.by, group[1:], strict=True)
        }
        undated = definition.sample_size(series.undated)
        for period, sums in zip(question.periods, series.periods, strict=True):
            yield Item(definition, asked.scope, period, by, currency, evaluate(definition, sums, currency), undated)


def _groups(question: Question, definition: Definition, groups: Mapping[Group, Series]) -> list[Group]:
    """Return which groups have items: those found, and without breakdown always one."""
    asked_currency = question.filters.currency if definition.unit == "money" else ""
    found = sorted((group for group, series in groups.items() if _counts(definition, group, series)), key=_order)
    if found or question.by:
        return found
    return [(asked_currency,)]


def _counts(definition: Definition, group: Group, series: Series) -> bool:
    """Tell whether a group says anything about a KPI: money needs a currency, a quotient a denominator."""
    if definition.unit == "money" and not group[0]:
        return False
    return not definition.is_quotient or any(sums.den for sums in (*series.periods, series.undated))


def _order(group: Group) -> tuple[str, ...]:
    return tuple(map(str, group))
