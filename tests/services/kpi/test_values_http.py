"""`GET /kpi/v1/values`: arithmetic, periods, currencies, breakdowns, waiting."""

import asyncio
from typing import Any

import pytest
from pydantic import TypeAdapter

from services.kpi.api.ranges import Day
from services.kpi.domain.values import divide_half_even, six_digits
from shared.events.codec import encode
from tests.services.kpi.deal_streams import Deal, at
from tests.services.kpi.harness import Kpi

YEAR = {"from_": "2026-01-01", "to": "2027-01-01", "scope": "org"}


def sold(day: str, outcome: str = "won", **fields: Any) -> Deal:
    return Deal().created("lead", at(f"{day} 01:00"), **fields).moved(outcome, at(f"{day} 02:00"))


async def test_a_won_deal_counts_for_everything(kpi: Kpi) -> None:
    deal = Deal().created("lead", at("2026-03-01 01:00"), owner="external:ann", amount=123_450, currency="CNY")
    deal.moved("demo", at("2026-03-02 01:00")).moved("won", at("2026-03-04 01:00"))
    await kpi.apply(*deal.messages)
    keys = [item["key"] for item in (await kpi.get("/definitions"))["items"]]
    answer = await kpi.get("/values", kpi=keys, **YEAR)
    assert {item["kpi"]: (item["value"], item["numerator"], item["denominator"], item["unit"]) for item in answer["items"]} == {
        "deals_created": ("1", "1", "1", "count"),
        "stage_entries": ("3", "3", "1", "count"),
        "stage_conversion": ("1.000000", "3", "3", "ratio"),
        "stage_dwell": ("129600.000000", "259200", "2", "seconds"),
        "won_count": ("1", "1", "1", "count"),
        "won_amount": ("1234.50", "1234.50", "1", "money"),
        "lost_count": ("0", "0", "1", "count"),
        "win_rate": ("1.000000", "1", "1", "ratio"),
        "average_deal_size": ("1234.50", "1234.50", "1", "money"),
        "sales_cycle_days": ("3.000000", "3", "1", "count"),
        "open_pipeline_amount": ("0.00", "0.00", "1", "money"),
    }  # fmt: skip
    assert answer["definition_versions"] == dict.fromkeys(keys, 1)
    assert answer["time_zone"] == "Asia/Shanghai"
    assert answer["as_of"] == {"recorded_at": "2026-11-01T00:00:03Z", "parked_streams": 0}
    assert answer["counted"] is None


async def test_nothing_is_zero_for_sums_and_null_with_a_reason_for_quotients(kpi: Kpi) -> None:
    kpis = ["won_count", "win_rate", "won_amount"]
    items = (await kpi.get("/values", kpi=kpis, currency="JPY", **YEAR))["items"]
    assert [(item["value"], item["denominator"], item["reason"]) for item in items] == [
        ("0", "1", None),
        (None, "0", "no_data"),
        ("0", "1", None),
    ]
    [item] = (await kpi.get("/values", kpi="won_amount", **YEAR))["items"]
    assert (item["value"], item["currency"], item["reason"]) == (None, None, "no_data")


async def test_a_currency_picks_money_and_leaves_counts_and_rates_of_all_deals(kpi: Kpi) -> None:
    for currency, amount in (("CNY", 100), ("USD", 7)):
        await kpi.apply(*sold("2026-03-01", currency=currency, amount=amount).messages)
    asked = ["won_count", "win_rate", "won_amount"]
    answer = await kpi.get("/values", kpi=asked, currency="USD", **YEAR)
    assert [(item["value"], item["currency"]) for item in answer["items"]] == [
        ("2", None),
        ("1.000000", None),
        ("0.07", "USD"),
    ]


async def test_money_comes_once_per_currency_in_its_own_decimals(kpi: Kpi) -> None:
    deals = [("CNY", 101), ("CNY", 100), ("JPY", 7), ("JPY", 8), ("KWD", 1500), (None, None)]
    await kpi.apply(
        *(m for currency, amount in deals for m in sold("2026-03-01", currency=currency, amount=amount).messages)
    )
    answer = await kpi.get("/values", kpi=["won_amount", "average_deal_size", "won_count"], **YEAR)
    assert [(item["kpi"], item["currency"], item["value"], item["sample_size"]) for item in answer["items"]] == [
        ("won_amount", "CNY", "2.01", 2),
        ("won_amount", "JPY", "15", 2),
        ("won_amount", "KWD", "1.500", 1),
        # Halves go to the even neighbour: 100.5 and 7.5 minor units.
        ("average_deal_size", "CNY", "1.00", 2),
        ("average_deal_size", "JPY", "8", 2),
        ("average_deal_size", "KWD", "1.500", 1),
        ("won_count", None, "6", 6),
    ]
    [yen] = (await kpi.get("/values", kpi="won_amount", currency="JPY", **YEAR))["items"]
    assert (yen["value"], yen["currency"]) == ("15", "JPY")


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [
        (1, 3, "0.333333"),
        (2, 3, "0.666667"),
        (1, 2_000_000, "0.000000"),
        (3, 2_000_000, "0.000002"),
        (-1, 2_000_000, "0.000000"),
        (-3, 2_000_000, "-0.000002"),
        (10**15, 7, "142857142857142.857143"),
    ],
)
def test_ratios_have_six_digits_halves_to_even(part: int, whole: int, expected: str) -> None:
    assert six_digits(part, whole) == expected


def test_division_is_exact_beyond_any_float() -> None:
    assert divide_half_even(10**30 + 1, 2) == 5 * 10**29
    assert divide_half_even(10**30 + 3, 2) == 5 * 10**29 + 2


async def test_periods_are_cut_to_the_range_and_filled_with_zeros(kpi: Kpi) -> None:
    for day in ("2026-01-31", "2026-02-01", "2026-04-30"):
        await kpi.apply(*sold(day).messages)
    items = (
        await kpi.get("/values", kpi="won_count", scope="org", grain="month", from_="2026-01-15", to="2026-05-01")
    )["items"]
    assert [(item["period"]["start"], item["period"]["end"], item["value"]) for item in items] == [
        ("2026-01-15", "2026-02-01", "1"),
        ("2026-02-01", "2026-03-01", "1"),
        ("2026-03-01", "2026-04-01", "0"),
        ("2026-04-01", "2026-05-01", "1"),
    ]
    for grain, expected in {"day": 106, "week": 16, "quarter": 2, "year": 1, "total": 1}.items():
        answer = await kpi.get(
            "/values", kpi="won_count", scope="org", grain=grain, from_="2026-01-15", to="2026-05-01"
        )
        assert len(answer["items"]) == expected
        assert sum(int(item["value"]) for item in answer["items"]) == 3


async def test_without_a_range_the_present_period_is_meant(kpi: Kpi) -> None:
    await kpi.apply(*sold("2026-11-22").messages, *sold("2026-10-01").messages, *sold("1999-01-01").messages)
    for grain, start, end, value in [
        ("day", "2026-11-23", "2026-11-24", "0"),
        ("month", "2026-11-01", "2026-12-01", "1"),
        ("quarter", "2026-10-01", "2027-01-01", "2"),
        ("total", "1970-01-01", "9999-12-31", "3"),
    ]:
        [item] = (await kpi.get("/values", kpi="won_count", scope="org", grain=grain))["items"]
        assert (item["period"]["start"], item["period"]["end"], item["value"]) == (start, end, value)
    since = await kpi.get("/values", kpi="won_count", scope="org", grain="month", from_="2026-10-15")
    assert [item["period"]["end"] for item in since["items"]] == ["2026-11-01", "2026-12-01"]
    until = await kpi.get("/values", kpi="won_count", scope="org", grain="month", to="2026-11-01")
    assert [item["period"]["start"] for item in until["items"]] == ["2026-10-01"]


async def test_the_open_amount_is_what_stands_at_the_end_of_each_period(kpi: Kpi) -> None:
    first = (
        Deal().created("lead", at("2026-01-10 01:00"), amount=100, currency="CNY").moved("demo", at("2026-02-10 01:00"))
    )
    second = (
        Deal().created("lead", at("2026-02-15 01:00"), amount=1000, currency="CNY").moved("won", at("2026-03-15 01:00"))
    )
    undated = Deal().created("lead", None, amount=5, currency="CNY")
    await kpi.apply(*first.messages, *second.messages, *undated.messages)
    query = {"kpi": "open_pipeline_amount", "scope": "org", "grain": "month"}
    items = (await kpi.get("/values", from_="2026-02-01", to="2026-05-01", **query))["items"]
    assert [(item["value"], item["sample_size"], item["undated"]) for item in items] == [
        ("11.00", 2, 1),
        ("1.00", 1, 1),
        ("1.00", 1, 1),
    ]
    by_stage = (await kpi.get("/values", from_="2026-02-01", to="2026-03-01", by="stage", **query))["items"]
    assert {item["by"]["stage"]: item["value"] for item in by_stage} == {"demo": "1.00", "lead": "10.00"}


async def test_breakdowns_add_up_and_filters_narrow(kpi: Kpi) -> None:
    for product, source, owner in [
        ("disk", "web", "external:ann"),
        ("disk", None, "external:ben"),
        (None, "web", None),
    ]:
        await kpi.apply(*sold("2026-03-01", product=product, source=source, owner=owner).messages)
    items = (await kpi.get("/values", kpi="won_count", by=["product", "source"], **YEAR))["items"]
    assert {(item["by"]["product"], item["by"]["source"]): item["value"] for item in items} == {
        ("disk", "web"): "1",
        ("disk", None): "1",
        (None, "web"): "1",
    }
    owners = (await kpi.get("/values", kpi="won_count", by="owner", **YEAR))["items"]
    assert {item["by"]["owner"]: item["value"] for item in owners} == {
        "external:ann": "1",
        "external:ben": "1",
        None: "1",
    }
    stages = (await kpi.get("/values", kpi="stage_conversion", by="stage", **YEAR))["items"]
    assert {item["by"]["stage"]: item["value"] for item in stages} == {
        "lead": "1.000000", "demo": "1.000000", "quote": "1.000000",
    }  # fmt: skip
    assert await kpi.value("stage_entries", stage="won", **YEAR) == "3"
    assert await kpi.value("won_count", process="another", **YEAR) == "0"


async def test_undated_facts_are_counted_beside_the_values(kpi: Kpi) -> None:
    await kpi.apply(*Deal().created("lead", None).messages, *sold("2026-03-01").messages)
    [item] = (await kpi.get("/values", kpi="deals_created", **YEAR))["items"]
    assert (item["value"], item["undated"]) == ("1", 1)
    [item] = (await kpi.get("/values", kpi="deals_created", scope="org", grain="total"))["items"]
    assert (item["value"], item["undated"]) == ("1", 1)


async def test_a_consistency_token_waits_until_the_move_is_counted(kpi: Kpi) -> None:
    deal = sold("2026-03-01")
    await kpi.apply(deal.messages[0])
    waiting = asyncio.create_task(kpi.get("/values", kpi="won_count", consistency_token=f"{deal.stream}@2", **YEAR))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await kpi.apply(deal.messages[1])
    answer = await waiting
    assert (answer["counted"], answer["items"][0]["value"]) == (True, "1")


async def test_a_token_that_is_never_counted_is_answered_after_five_seconds(
    kpi: Kpi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.kpi.use_cases.freshness.LONGEST_WAIT_SECONDS", 0.05)
    answer = await kpi.get("/values", kpi="won_count", consistency_token="deal:nobody@1", **YEAR)
    assert (answer["counted"], answer["items"][0]["value"]) == (False, "0")


async def test_streams_that_stand_still_are_told(kpi: Kpi) -> None:
    deal = sold("2026-03-01")
    await kpi.apply(deal.messages[1])
    assert (await kpi.get("/values", kpi="won_count", **YEAR))["as_of"]["parked_streams"] == 1
    await kpi.apply(deal.messages[0])
    answer = await kpi.get("/values", kpi="won_count", **YEAR)
    assert (answer["as_of"]["parked_streams"], answer["items"][0]["value"]) == (0, "1")


async def test_a_poisonous_event_stops_its_own_stream_only(kpi: Kpi) -> None:
    good, bad = sold("2026-03-01"), Deal().created("lead", at("2026-03-01 01:00"), amount=5, currency="yuan")
    bad.changed(currency="CNY")
    await kpi.apply(*bad.messages, *good.messages)
    answer = await kpi.get("/values", kpi=["won_count", "deals_created"], **YEAR)
    assert [item["value"] for item in answer["items"]] == ["1", "1"]
    assert answer["as_of"]["parked_streams"] == 1
    assert len((await kpi.get("/dead-letters"))["items"]) == 1


@pytest.mark.parametrize(
    ("query", "parameter", "code"),
    [
        ({"kpi": ["won_count", "happiness"]}, "kpi", "unknown_kpi"),
        ({}, "kpi", "required"),
        ({"kpi": "won_count", "by": "stage"}, "by", "no_such_dimension"),
        ({"kpi": "won_count", "stage": "demo"}, "stage", "no_such_dimension"),
        ({"kpi": "won_count", "from_": "2026-02-01", "to": "2026-02-01"}, "from", "empty_range"),
        ({"kpi": "won_count", "grain": "day", "from_": "2000-01-01", "to": "2026-01-01"}, "grain", "too_many_items"),
        ({"kpi": "won_count", "grain": "day", "from_": "9999-12-01", "to": "9999-12-31"}, "from", "out_of_range"),
        ({"kpi": "won_count", "from_": "1483228800"}, "from", "invalid_format"),
        ({"kpi": "won_count", "to": "2026-02-01T00:00:00Z"}, "to", "invalid_format"),
        ({"kpi": "won_count", "currency": "yuan"}, "currency", None),
        ({"kpi": "won_amount", "currency": "XXX"}, "currency", "not_a_currency"),
        ({"kpi": "won_count", "consistency_token": "deal"}, "consistency_token", None),
        ({"kpi": "won_count", "grain": "fortnight"}, "grain", None),
        ({"kpi": "won_count", "colour": "red"}, "colour", "unknown_parameter"),
    ],
)
async def test_a_bad_question_is_told_what_is_wrong(kpi: Kpi, query: Any, parameter: str, code: str | None) -> None:
    problem = await kpi.get("/values", status=422, **query)
    assert problem["code"] == "validation_failed"
    [error] = problem["errors"]
    assert error["parameter"] == parameter
    assert code is None or error["code"] == code


def test_the_bounds_of_days_are_not_published_under_names_that_json_schema_does_not_know() -> None:
    assert TypeAdapter(Day).json_schema() == {"type": "string", "format": "date"}


async def test_all_wrong_parts_are_told_at_once(kpi: Kpi) -> None:
    query = {"kpi": ["nonsense", "won_count"], "by": "stage", "from_": "2026-02-02", "to": "2026-02-01"}
    problem = await kpi.get("/values", status=422, **query)
    assert sorted(error["code"] for error in problem["errors"]) == ["empty_range", "no_such_dimension", "unknown_kpi"]


async def test_large_numbers_stay_exact(kpi: Kpi) -> None:
    for _ in range(3):
        await kpi.apply(*(encode(event) for event in sold("2026-03-01", amount=10**15 - 1, currency="CNY").events))
    assert await kpi.value("won_amount", **YEAR) == "29999999999999.97"
