"""The share-out is exact, bounded, fair and independent of order; an independent checker confirms the plan."""

from collections.abc import Sequence
from fractions import Fraction
from time import perf_counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.goals.domain.allocation import Claim, InfeasibleBounds, allocate

FEW = settings(max_examples=250, deadline=None)


@st.composite
def claims(draw: st.DrawFn, least: int = 1, most: int = 12) -> list[Claim]:
    count = draw(st.integers(least, most))
    made = []
    for n in range(count):
        lo = draw(st.integers(0, 500))
        made.append(Claim(f"p{n:03}", draw(st.integers(1, 10_000)), lo, lo + draw(st.integers(0, 2_000))))
    return made


@st.composite
def problems(draw: st.DrawFn, least: int = 1, most: int = 12) -> tuple[int, list[Claim]]:
    """A total that the bounds allow, with its claims."""
    made = draw(claims(least, most))
    return draw(st.integers(sum(c.lo for c in made), sum(c.hi for c in made))), made


def check_plan(total: int, made: Sequence[Claim], units: Sequence[int]) -> None:
    """Confirm a plan without knowing how it was made: one level k must explain every share to within a unit.

    A share strictly inside its bounds says (x-1)/w < k < (x+1)/w; one at a bound says k on that side only.
    """
    assert sum(units) == total
    above, below = Fraction(0), None
    for claim, x in zip(made, units, strict=True):
        assert claim.lo <= x <= claim.hi
        if x > claim.lo:
            above = max(above, Fraction(x - 1, claim.weight))
        if x < claim.hi:
            limit = Fraction(x + 1, claim.weight)
            below = limit if below is None else min(below, limit)
    assert below is None or above < below


@FEW
@given(problems())
def test_a_plan_is_exact_bounded_and_explained_by_one_level(problem):
    total, made = problem
    check_plan(total, made, allocate(total, made))


@FEW
@given(problems(), st.integers(2, 97))
def test_only_the_proportion_of_weights_counts(problem, factor):
    total, made = problem
    scaled = [Claim(c.key, c.weight * factor, c.lo, c.hi) for c in made]
    assert allocate(total, scaled) == allocate(total, made)


@FEW
@given(problems(least=2), st.data())
def test_a_greater_weight_never_lowers_ones_own_share(problem, data):
    total, made = problem
    n = data.draw(st.integers(0, len(made) - 1))
    more = data.draw(st.integers(1, 20_000))
    raised = [Claim(c.key, c.weight + (more if i == n else 0), c.lo, c.hi) for i, c in enumerate(made)]
    assert allocate(total, raised)[n] >= allocate(total, made)[n]


@FEW
@given(st.lists(st.integers(1, 5_000), min_size=2, max_size=12), st.integers(0, 400), st.integers(0, 3_000), st.data())
def test_with_equal_bounds_the_weightier_gets_no_less(weights, lo, width, data):
    made = [Claim(f"p{n:03}", weight, lo, lo + width) for n, weight in enumerate(weights)]
    units = allocate(data.draw(st.integers(lo * len(made), (lo + width) * len(made))), made)
    for one, x in zip(made, units, strict=True):
        for other, y in zip(made, units, strict=True):
            if one.weight > other.weight:
                assert x >= y


@FEW
@given(problems(least=2), st.randoms(use_true_random=False))
def test_the_order_of_people_does_not_matter(problem, random):
    total, made = problem
    expected = dict(zip([c.key for c in made], allocate(total, made), strict=True))
    shuffled = random.sample(made, len(made))
    assert dict(zip([c.key for c in shuffled], allocate(total, shuffled), strict=True)) == expected


@FEW
@given(problems(least=2))
def test_a_whole_greater_by_one_lowers_nobody_by_more_than_one(problem):
    """The Alabama paradox of largest remainders exists, but costs at most one unit."""
    total, made = problem
    assume(total < sum(c.hi for c in made))
    before, after = allocate(total, made), allocate(total + 1, made)
    assert all(now - then >= -1 for then, now in zip(before, after, strict=True))


@FEW
@given(claims(), st.integers(1, 10_000))
def test_bounds_that_cannot_hold_are_named_with_the_gap(made, beyond):
    with pytest.raises(InfeasibleBounds) as low:
        allocate(sum(c.lo for c in made) - beyond, made)
    assert (low.value.bound, low.value.gap) == ("min", beyond)
    with pytest.raises(InfeasibleBounds) as high:
        allocate(sum(c.hi for c in made) + beyond, made)
    assert (high.value.bound, high.value.gap) == ("max", beyond)


@FEW
@given(st.integers(0, 10**9), st.lists(st.integers(0, 10_000), min_size=1, max_size=10))
def test_without_binding_bounds_shares_are_proportional_to_within_one(total, weights):
    assume(sum(weights))
    made = [Claim(f"p{n:03}", weight, 0, total) for n, weight in enumerate(weights)]
    units = allocate(total, made)
    assert sum(units) == total
    for claim, x in zip(made, units, strict=True):
        assert abs(x - Fraction(total * claim.weight, sum(weights))) < 1


@pytest.mark.parametrize(
    ("total", "made", "expected"),
    [
        (0, [Claim("a", 3, 0, 0), Claim("b", 5, 0, 0)], [0, 0]),
        (0, [], []),
        (7, [Claim("a", 3, 0, 100)], [7]),
        (10, [Claim("b", 1, 0, 10), Claim("a", 1, 0, 10), Claim("c", 1, 0, 10)], [3, 4, 3]),
        (12, [Claim("a", 9, 5, 5), Claim("b", 1, 7, 7)], [5, 7]),
        (10, [Claim("a", 0, 2, 9), Claim("b", 1, 0, 9)], [2, 8]),
        (100, [Claim("a", 1, 40, 60), Claim("b", 9, 40, 60)], [40, 60]),
    ],
    ids=["nothing", "nobody", "alone", "ties by key", "fixed", "weightless", "both at bounds"],
)
def test_small_cases_known_by_hand(total, made, expected):
    assert allocate(total, made) == expected


def test_a_weightless_person_cannot_take_what_others_may_not():
    with pytest.raises(InfeasibleBounds) as refused:
        allocate(15, [Claim("a", 0, 2, 90), Claim("b", 1, 0, 9)])
    assert (refused.value.bound, refused.value.gap) == ("max", 4)


def test_five_hundred_people_take_well_under_a_second():
    made = [Claim(f"p{n:03}", 1 + n * n * 7919 % 10_007, 100_000 + n, 900_000 + 13 * n) for n in range(500)]
    begun = perf_counter()
    units = allocate(200_000_003, made)
    assert perf_counter() - begun < 0.5
    check_plan(200_000_003, made, units)
