"""Shares in the goal's own unit, and the factors that explain them."""

from datetime import date
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from services.goals.domain.plan import Bounds, BoundsDoNotHold, NoCapacity, Participant, plan
from services.goals.domain.weights import experience_factor, presence, weight_of
from shared.calendar import BusinessCalendar

CALENDAR = BusinessCalendar(ZoneInfo("Asia/Shanghai"))


def seller(
    n: int, ability: int = 50, months: int = 12, availability: int = 10_000, present: int = 10_000
) -> Participant:
    return Participant(
        person_id=UUID(int=n),
        external_id=f"p{n}",
        name=None,
        team_id=None,
        ability_bp=ability * 100,
        experience_months=months,
        availability_bp=availability,
        weight=weight_of(ability * 100, months, availability, present),
    )


def test_the_factors_multiply_to_the_weight():
    weight = weight_of(8_200, 72, 8_000, 5_000)
    assert (weight.ability_bp, weight.experience_bp, weight.availability_bp) == (13_200, 11_000, 4_000)
    assert weight.value == Decimal("1.32") * Decimal("1.1") * Decimal("0.4")


def test_experience_only_ever_rises():
    factors = [experience_factor(months) for months in range(600)]
    assert factors == sorted(factors)
    assert [factors[n] for n in (0, 2, 3, 5, 6, 11, 12, 72)] == [4000, 4000, 6000, 6000, 8000, 8000, 10_000, 11_000]
    assert factors[-1] < 12_000


def test_presence_counts_working_days_with_make_up_days():
    # October 2017 in China: the 1st to the 8th are days off.
    start, end = date(2017, 10, 1), date(2017, 11, 1)
    assert presence(CALENDAR, [(start, end)], start, end) == 10_000
    assert presence(CALENDAR, [(date(2017, 10, 1), date(2017, 10, 9))], start, end) == 0
    days = CALENDAR.working_days(start, end)
    assert presence(CALENDAR, [(date(2017, 10, 9), date(2017, 10, 14))], start, end) == 10_000 * 5 // days
    assert presence(CALENDAR, [(date(2017, 10, 1), date(2017, 10, 2))], date(2017, 10, 1), date(2017, 10, 3)) == 5_000


@pytest.mark.parametrize(("target", "places"), [("3280480.50", 2), ("1000001", 0), ("100.001", 3), ("0.00", 2)])
def test_quotas_sum_to_the_target_in_every_currency(target, places):
    people = [seller(n, ability=10 * n, months=5 * n) for n in range(1, 8)]
    shares = plan(Decimal(target), places, people, Bounds())
    assert sum(each.quota for each in shares) == Decimal(target)
    assert all(each.lo <= each.quota <= each.hi for each in shares)
    assert {-each.quota.as_tuple().exponent for each in shares} == {places}


def test_more_able_more_experienced_and_more_available_get_more():
    base, able, old, half = seller(1), seller(2, ability=60), seller(3, months=36), seller(4, availability=5_000)
    shares = plan(Decimal("100000.00"), 2, [base, able, old, half], Bounds(Decimal(0), Decimal(4)))
    quota = {each.participant.person_id.int: each.quota for each in shares}
    assert quota[2] > quota[1]
    assert quota[3] > quota[1]
    assert abs(quota[4] * 2 - quota[1]) <= Decimal("0.02")


def test_bounds_are_around_the_even_share_by_availability():
    weak, strong, part_time = (
        seller(1, ability=0, months=0),
        seller(2, ability=100, months=99),
        seller(3, availability=5_000),
    )
    shares = plan(Decimal("250.00"), 2, [weak, strong, part_time], Bounds(Decimal("0.60"), Decimal("1.60")))
    assert [(each.lo, each.hi) for each in shares] == [(60, 160), (60, 160), (30, 80)]
    assert shares[0].at_bound == "min"
    assert shares[0].quota == 60


def test_even_bounds_can_always_be_met():
    shares = plan(Decimal("100.00"), 2, [seller(n, ability=n) for n in range(3)], Bounds(Decimal(1), Decimal(1)))
    assert sorted(each.quota for each in shares) == [Decimal("33.33"), Decimal("33.33"), Decimal("33.34")]


@pytest.mark.parametrize(
    ("bounds", "bound", "gap"),
    [(("1.10", "2.00"), "min", "10.00"), (("0.10", "0.75"), "max", "25.00")],
)
def test_bounds_that_cannot_hold_say_by_how_much(bounds, bound, gap):
    with pytest.raises(BoundsDoNotHold) as refused:
        plan(Decimal("100.00"), 2, [seller(1), seller(2)], Bounds(*map(Decimal, bounds)))
    assert (refused.value.bound, refused.value.gap) == (bound, Decimal(gap))


@pytest.mark.parametrize("people", [[], [seller(1, availability=0)]])
def test_nobody_available_is_no_plan(people):
    with pytest.raises(NoCapacity):
        plan(Decimal(100), 0, people, Bounds())
