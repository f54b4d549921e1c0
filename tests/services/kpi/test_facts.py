"""What a deal counts for, case by case."""

from zoneinfo import ZoneInfo

import pytest

from services.kpi.domain.course import DealCourse, fold
from services.kpi.domain.days import UNDATED, day_number
from services.kpi.domain.facts import (
    CLOSED,
    CREATED,
    CYCLE,
    DWELL,
    ENTRIES,
    IMPLIED,
    OPEN_VALUE,
    REACHED,
    WON_VALUE,
    Fact,
    facts,
)
from services.kpi.domain.tally import Tally
from shared.money import MoneyError
from tests.services.kpi.deal_streams import Deal, at

SHANGHAI = ZoneInfo("Asia/Shanghai")


def folded(deal: Deal) -> DealCourse:
    course: DealCourse | None = None
    for event in deal.events:
        course = fold(course, event, SHANGHAI)
    assert course is not None
    return course


def counted(deal: Deal, measure: int) -> list[Fact]:
    return [fact for fact in facts(folded(deal)) if fact.measure == measure]


def day(text: str) -> int:
    return day_number(at(text).date())


def test_a_day_is_local_to_the_organisation() -> None:
    deal = Deal().created("lead", at("2026-01-31 15:59"))
    assert counted(deal, CREATED)[0].day == day("2026-01-31")
    deal = Deal().created("lead", at("2026-01-31 16:00"))
    assert counted(deal, CREATED)[0].day == day("2026-02-01")


def test_a_skipped_stage_is_an_implied_entry_that_was_passed() -> None:
    deal = Deal().created("lead", at("2026-02-01 09:00")).moved("quote", at("2026-02-03 09:00"))
    assert [(fact.dims.stage, fact.day, fact.num) for fact in counted(deal, REACHED)] == [
        ("lead", day("2026-02-01"), 1),
        ("demo", day("2026-02-03"), 1),
        ("quote", day("2026-02-03"), 0),
    ]
    assert [fact.dims.stage for fact in counted(deal, IMPLIED)] == ["demo"]
    assert [fact.dims.stage for fact in counted(deal, ENTRIES)] == ["lead", "quote"]


def test_lost_is_no_later_stage_and_implies_nothing() -> None:
    deal = Deal().created("lead", at("2026-02-01 09:00")).moved("lost", at("2026-02-03 09:00"))
    assert [(fact.dims.stage, fact.num, fact.den) for fact in counted(deal, REACHED)] == [
        ("lead", 0, 1),
        ("lost", 0, 0),
    ]


def test_the_first_entry_counts_and_going_back_takes_no_conversion_away() -> None:
    deal = Deal().created("lead", at("2026-02-01 09:00")).moved("demo", at("2026-02-02 09:00"))
    deal.moved("lead", at("2026-02-05 09:00"))
    assert [(fact.dims.stage, fact.day, fact.num) for fact in counted(deal, REACHED)] == [
        ("lead", day("2026-02-01"), 1),
        ("demo", day("2026-02-02"), 0),
    ]
    assert [fact.dims.stage for fact in counted(deal, ENTRIES)] == ["lead", "demo", "lead"]


def test_every_ended_stay_is_a_dwell_on_the_day_it_ended() -> None:
    deal = Deal().created("lead", at("2026-02-01 09:00:00.900")).moved("demo", at("2026-02-01 10:00:01"))
    deal.moved("lead", at("2026-02-01 08:00")).moved("won", None)
    assert [(fact.dims.stage, fact.day, fact.num, fact.duration) for fact in counted(deal, DWELL)] == [
        ("lead", day("2026-02-01"), 3600, 3600),
        # Clocks that ran backwards make no negative time.
        ("demo", day("2026-02-01"), 0, 0),
        ("lead", UNDATED, 0, None),
    ]


def test_reopening_takes_the_outcome_back() -> None:
    deal = (
        Deal().created("lead", at("2026-02-01 09:00"), amount=500, currency="CNY").moved("won", at("2026-02-02 09:00"))
    )
    assert [len(counted(deal, measure)) for measure in (CLOSED, WON_VALUE, CYCLE)] == [1, 1, 1]
    deal.moved("quote", at("2026-02-03 09:00"))
    assert [len(counted(deal, measure)) for measure in (CLOSED, WON_VALUE, CYCLE)] == [0, 0, 0]
    deal.moved("lost", at("2026-02-09 09:00"))
    [closed] = counted(deal, CLOSED)
    assert (closed.day, closed.num, closed.den) == (day("2026-02-09"), 0, 1)


def test_an_amount_edited_after_won_restates_the_day_of_closing() -> None:
    deal = (
        Deal().created("lead", at("2026-02-01 09:00"), amount=500, currency="CNY").moved("won", at("2026-02-02 09:00"))
    )
    deal.changed(at("2026-05-01 09:00"), amount=700)
    [value] = counted(deal, WON_VALUE)
    assert (value.day, value.num, value.dims.currency) == (day("2026-02-02"), 700, "CNY")


@pytest.mark.parametrize(("amount", "expected"), [(None, []), (0, [(0, 0, 1)]), (5, [(5, 1, 1)])])
def test_deals_without_an_amount_have_no_size(amount: int | None, expected: list[tuple[int, int, int]]) -> None:
    deal = Deal().created("lead", at("2026-02-01 09:00"), amount=amount, currency=None if amount is None else "CNY")
    deal.moved("won", at("2026-02-02 09:00"))
    assert [(fact.num, fact.den, fact.n) for fact in counted(deal, WON_VALUE)] == expected


def test_entries_stay_with_who_made_them_the_rest_goes_to_the_present_owner_until_closing() -> None:
    deal = Deal().created("lead", at("2026-02-01 09:00"), owner="ann").moved("demo", at("2026-02-02 09:00"))
    deal.changed(owner="ben").moved("won", at("2026-02-03 09:00")).changed(owner="cid")
    assert [fact.owner for fact in counted(deal, ENTRIES)] == ["ann", "ann", "ben"]
    assert {fact.owner for fact in facts(folded(deal)) if fact.measure != ENTRIES} == {"ben"}


def test_a_correction_replaces_the_course_and_keeps_who_was_credited_where_the_stage_stays() -> None:
    deal = Deal().created("lead", at("2026-02-01 09:00"), owner="ann").moved("demo", at("2026-02-02 09:00"))
    deal.changed(owner="ben").corrected(
        ("lead", at("2026-01-10 09:00")), ("quote", at("2026-01-12 09:00")), ("won", at("2026-01-20 09:00"))
    )
    assert [(fact.dims.stage, fact.day, fact.owner) for fact in counted(deal, ENTRIES)] == [
        ("lead", day("2026-01-10"), "ann"),
        ("quote", day("2026-01-12"), "ben"),
        ("won", day("2026-01-20"), "ben"),
    ]
    assert [fact.num for fact in counted(deal, CYCLE)] == [10]
    assert [fact.dims.stage for fact in counted(deal, IMPLIED)] == ["demo"]


def test_a_deleted_deal_never_was() -> None:
    deal = Deal().created("lead", at("2026-02-01 09:00"), amount=5, currency="CNY").deleted()
    assert facts(folded(deal)) == ()
    assert facts(None) == ()


def test_what_is_undated_is_counted_and_never_dated() -> None:
    deal = Deal().created("lead", None, amount=5, currency="CNY")
    assert {(fact.measure, fact.day) for fact in facts(folded(deal))} == {
        (CREATED, UNDATED),
        (ENTRIES, UNDATED),
        (REACHED, UNDATED),
        (OPEN_VALUE, UNDATED),
    }


def test_open_amount_comes_stage_by_stage_and_leaves_at_the_closing() -> None:
    deal = Deal().created("lead", None, amount=5, currency="CNY").moved("demo", at("2026-02-02 09:00"))
    deal.moved("quote", at("2026-02-01 09:00")).moved("lost", at("2026-02-04 09:00")).moved(
        "lead", at("2026-02-06 09:00")
    )
    assert [(fact.dims.stage, fact.day, fact.num, fact.n, fact.den) for fact in counted(deal, OPEN_VALUE)] == [
        # Known to be open since the first date; going back in time does not make the sum negative.
        ("demo", day("2026-02-02"), 5, 1, 0),
        ("demo", day("2026-02-02"), -5, -1, 1),
        ("quote", day("2026-02-02"), 5, 1, 0),
        ("quote", day("2026-02-04"), -5, -1, 0),
        ("lead", day("2026-02-06"), 5, 1, 0),
    ]


def test_facts_are_known_from_recorded_times_that_never_go_back() -> None:
    deal = Deal().created("lead", at("2026-02-01 09:00")).moved("demo", at("2026-02-02 09:00"))
    first, second = deal.events
    tally = Tally(SHANGHAI, {})
    tally.add(
        deal.stream,
        second.__class__(**{name: getattr(second, name) for name in second.__struct_fields__} | {"version": 1}),
    )
    tally.add(
        deal.stream,
        first.__class__(**{name: getattr(first, name) for name in first.__struct_fields__} | {"version": 2}),
    )
    assert tally.courses[deal.stream].known_at == second.recorded_at
    assert all(told.known_to is None or told.known_to >= told.known_from for told in tally.told)


def test_an_amount_in_what_is_no_currency_is_the_events_fault() -> None:
    with pytest.raises(MoneyError):
        folded(Deal().created("lead", at("2026-02-01 09:00"), amount=5, currency="yuan"))
