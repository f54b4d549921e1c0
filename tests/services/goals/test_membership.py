"""Team membership over time."""

from datetime import date, timedelta
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from services.goals.domain.membership import days_within, joined, team_on, transferred
from services.goals.domain.people import next_version, would_loop
from services.goals.domain.rollup import Attained, by_team, child_of, subtree
from shared.clock import utc_now
from shared.events.goals import Membership

A, B, C = (UUID(int=n) for n in range(1, 4))
DAYS = st.dates(date(2026, 1, 1), date(2026, 12, 31))


def test_the_first_team_is_since_ever_and_a_move_cuts_there():
    held = transferred(joined(A), B, date(2026, 3, 1))
    assert held == (Membership(A, None, date(2026, 3, 1)), Membership(B, date(2026, 3, 1), None))
    assert team_on(held, date(1999, 1, 1)) == A
    assert team_on(held, date(2026, 2, 28)) == A
    assert team_on(held, date(2026, 3, 1)) == B
    assert transferred(held, None, date(2026, 5, 1))[-1] == Membership(B, date(2026, 3, 1), date(2026, 5, 1))
    assert transferred(held, A, date(2026, 3, 1)) == joined(A)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(DAYS, st.sampled_from([A, B, C, None])), max_size=8), DAYS)
def test_every_day_has_the_team_of_the_last_told_move_that_holds_then(moves, day):
    held = joined(A)
    expected: dict[date, UUID | None] = {}
    first = date(2026, 1, 1)
    days = [first + timedelta(n) for n in range(365)]
    expected = dict.fromkeys(days, A)
    for on, team in moves:
        held = transferred(held, team, on)
        expected |= {d: team for d in days if d >= on}
    assert team_on(held, day) == expected[day]
    assert sum((last - start).days for start, last in days_within(held, first, date(2027, 1, 1))) == sum(
        team is not None for team in expected.values()
    )


def test_the_hierarchy():
    parents = {A: None, B: A, C: B}
    assert would_loop(A, C, parents)
    assert would_loop(A, A, parents)
    assert not would_loop(C, A, parents)
    assert subtree(B, parents) == {B, C}
    assert child_of(None, C, parents) == A
    assert child_of(A, C, parents) == B
    assert child_of(A, A, parents) == A


def test_results_are_summed_upwards_and_unmeasured_people_told():
    people = [Attained(C, 10, 5), Attained(B, 20, None), Attained(None, 5, 1)]
    sums = {
        each.team_id: (each.people, each.unmeasured, each.quota, each.result)
        for each in by_team(people, {A: None, B: A, C: B}, B)
    }
    assert sums == {C: (1, 0, 10, 5), B: (2, 1, 30, 5), None: (1, 0, 5, 1)}


def test_versions_grow_even_when_the_clock_does_not():
    now = utc_now()
    assert next_version(0, now) == next_version(next_version(0, now) - 1, now)
    assert next_version(10**18, now) == 10**18 + 1
