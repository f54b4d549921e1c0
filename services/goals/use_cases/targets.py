"""What a target comes to: a plain number, or a baseline read from kpi times a factor, frozen from then on.

kpi is asked before any transaction begins: nothing waits for it while holding a lock.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from http import HTTPStatus
from typing import Any

import msgspec

from services.goals.domain.goal import Baseline, RelativeTo, baseline_period, relative_target
from services.goals.domain.kpis import Kpi
from services.goals.domain.numbers import NumberFault, parse_number, places_of
from services.goals.domain.refusal import Fault, Impossible, Invalid, Unavailable
from services.goals.use_cases.context import Context
from shared.calendar import Period
from shared.http_client import Answer, HttpClient, HttpFailure
from shared.language import Text

_SINCE_EVER = date(2000, 1, 1)
# A team or person that was made a moment ago is on its way to kpi.
_PATIENCE_SECONDS = 2.0
_ASK_AGAIN_SECONDS = 0.05
MOST_PLACES = 4
_NUMBER_FAULTS: Mapping[str, Text] = {
    "not_a_number": {"zh": "不是十进制数", "en": "is not a decimal number"},
    "out_of_range": {"zh": "必须在 0 与 10^15 之间", "en": "must be between 0 and 10^15"},
    "too_many_decimals": {"zh": "小数位多于该单位所允许的", "en": "has more decimals than its unit knows"},
}
_NOT_MONEY: Text = {"zh": "该指标不是金额，不带币种", "en": "this KPI is not money and has no currency"}
_FACTOR: Text = {"zh": "必须大于零", "en": "must be greater than zero"}
_NO_BASELINE: Text = {
    "zh": "上一期间没有可作基准的数值，请给出绝对目标值",
    "en": "the earlier period has no value to start from; give an absolute target",
}
_NEEDS_CURRENCY: Text = {
    "zh": "金额类指标需要币种，因为现有数据不是恰好一个币种",
    "en": "a KPI in money needs a currency, as its data is not in exactly one",
}


@dataclass(frozen=True, slots=True)
class Relative:
    """A target of `factor` times what an earlier period came to."""

    relative_to: RelativeTo
    factor: Decimal


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller asks for, before it is known what that comes to; `scope` is canonical."""

    kpi: Kpi
    scope: str
    period: Period
    currency: str | None
    target: str | Relative


@dataclass(frozen=True, slots=True)
class Settled:
    """What it comes to."""

    target: Decimal
    currency: str | None
    baseline: Baseline | None = None


class _Item(msgspec.Struct):
    value: str | None = None
    currency: str | None = None


class _Values(msgspec.Struct):
    items: list[_Item]
    as_of: dict[str, Any] = {}


class _NotFound(msgspec.Struct):
    kind: str | None = None


def faults_of(kpi: Kpi, currency: str | None, target: str | Relative) -> list[Fault]:
    """Return what is wrong with a target whatever kpi may say."""
    if currency is not None and kpi.unit != "money":
        return [Fault("/currency", "not_money", _NOT_MONEY)]
    if isinstance(target, Relative):
        return [] if target.factor > 0 else [Fault("/target/factor", "out_of_range", _FACTOR)]
    # How many decimals money may have is known with its currency: the most that any has, until then.
    places = MOST_PLACES if kpi.unit == "money" and currency is None else places_of(kpi, currency)
    try:
        parse_number(target, places)
    except NumberFault as fault:
        return [Fault("/target", fault.code, _NUMBER_FAULTS[fault.code])]
    return []


async def settle(context: Context, wish: Wish) -> Settled:
    """Return the target of `wish`; raises Invalid, Impossible (`no_baseline`, `currency_required`) and Unavailable."""
    if isinstance(wish.target, Relative):
        return await _relative(context, wish, wish.target)
    currency = wish.currency
    if currency is None and wish.kpi.unit == "money":
        whole = await _read(context.kpi, wish, Period(min(_SINCE_EVER, wish.period.start), wish.period.end, "total"))
        currency = _only_currency(whole.items)
    faults = faults_of(wish.kpi, currency, wish.target)
    if faults:
        raise Invalid(faults)
    return Settled(parse_number(wish.target, places_of(wish.kpi, currency)), currency)


async def _relative(context: Context, wish: Wish, relative: Relative) -> Settled:
    before = baseline_period(wish.period, relative.relative_to)
    values = await _read(context.kpi, wish, before)
    told = [item for item in values.items if item.value is not None and Decimal(item.value)]
    if not told:
        raise Impossible("no_baseline", _NO_BASELINE, {"period": {"start": before.start, "end": before.end}})
    money = wish.kpi.unit == "money"
    currency = wish.currency or (_only_currency(told) if money else None)
    value = next(Decimal(item.value or 0) for item in told if not money or item.currency == currency)
    baseline = Baseline(
        relative_to=relative.relative_to,
        factor=relative.factor,
        start=before.start,
        end=before.end,
        value=value,
        as_of=values.as_of,
        frozen_at=context.clock(),
    )
    return Settled(relative_target(value, relative.factor, places_of(wish.kpi, currency)), currency, baseline)


def _only_currency(items: list[_Item]) -> str:
    """Return the one currency that has a value; otherwise the caller must name it."""
    known = sorted({item.currency for item in items if item.currency and item.value is not None})
    if len(known) != 1:
        raise Impossible("currency_required", _NEEDS_CURRENCY, {"currencies": known})
    return known[0]


async def _read(kpi: HttpClient, wish: Wish, period: Period) -> _Values:
    params = {
        "kpi": wish.kpi.key,
        "scope": wish.scope,
        "grain": period.grain,
        "from": period.start.isoformat(),
        "to": period.end.isoformat(),
    }
    if wish.currency is not None:
        params["currency"] = wish.currency
    try:
        answer = await _ask(kpi, params)
        if _is_unheard_of(answer):
            # The caller sees the scope here: that kpi has not heard of it only says that nothing of it is counted.
            return _Values([])
        if not answer.ok:
            raise Unavailable(f"kpi answered {answer.status}")
        return msgspec.json.decode(answer.body, type=_Values)
    except (HttpFailure, msgspec.MsgspecError) as error:
        raise Unavailable(str(error)) from error


async def _ask(kpi: HttpClient, params: Mapping[str, str]) -> Answer:
    """Return kpi's answer; as long as it does not know the scope it is asked again, for at most 2 s."""
    deadline = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
    while True:
        answer = await kpi.request("GET", "/kpi/v1/values", params=params)
        if not _is_unheard_of(answer) or asyncio.get_running_loop().time() >= deadline:
            return answer
        await asyncio.sleep(_ASK_AGAIN_SECONDS)


def _is_unheard_of(answer: Answer) -> bool:
    """Whether kpi says that it does not know the scope; a 404 of anything else is one of a wrong address."""
    return answer.status == HTTPStatus.NOT_FOUND and msgspec.json.decode(answer.body, type=_NotFound).kind == "scope"
