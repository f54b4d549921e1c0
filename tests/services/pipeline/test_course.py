"""A course told by another system: recorded once, continued, corrected, and never twice."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.pipeline.domain.course import Entry, Recorded, course_of, record_course
from services.pipeline.domain.deal import DealChange, Task
from shared.events.pipeline import DealChanged, DealCourseCorrected, DealCreated, DealEvent, DealMoved
from tests.services.pipeline.building import NOW, process, recording

FIRST = datetime(2017, 1, 5, tzinfo=UTC)


def at(days: int) -> datetime:
    return FIRST + timedelta(days=days)


def told_first(course: list[Entry], **told: Any) -> DealChange:
    change = record_course(process(), None, course, {"name": "Pumps", **told}, recording())  # type: ignore[typeddict-item]
    assert change is not None
    return change


def told_again(
    known: DealChange, course: list[Entry], tasks: tuple[Task, ...] | None = None, **told: Any
) -> DealChange | None:
    recorded = Recorded(known.deal, course_of(known.events), known.tasks if tasks is None else tasks)
    return record_course(process(), recorded, course, told, recording(5))  # type: ignore[arg-type]


def kinds(events: tuple[DealEvent, ...]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_a_new_deal_is_created_in_its_first_stage_and_moved_through_the_others():
    change = told_first(
        [Entry("visit", at(0)), Entry("signing", at(9)), Entry("closed", None)], amount=7, currency="USD"
    )
    assert kinds(change.events) == ["DealCreated", "DealMoved", "DealMoved"]
    assert [event.version for event in change.events] == [1, 2, 3]
    assert [event.occurred_at for event in change.events] == [at(0), at(9), None]
    moved = change.events[1]
    assert isinstance(moved, DealMoved)
    assert moved.broke == ("tasks_done:call", "field_present:fields.budget", "known")
    assert [place.code for place in moved.passed] == ["offer"]
    assert change.deal.version == 3
    assert (change.deal.status, change.deal.closed_at, change.deal.stage_entered_at) == ("won", None, None)
    assert change.tasks == ()


def test_only_the_tasks_of_the_present_stage_are_made():
    change = told_first([Entry("visit", at(0)), Entry("offer", at(4))])
    assert [(task.code, task.visit, task.due_at) for task in change.tasks] == [("price", 2, None)]
    assert change.deal.sla_due_at == at(11)


def test_the_same_course_again_is_nothing_new():
    course = [Entry("visit", at(0)), Entry("visit", at(1)), Entry("dropped", at(3))]
    change = told_first(course, lost_reason="price", product="GTX")
    assert kinds(change.events) == ["DealCreated", "DealMoved"]
    assert change.deal.lost_reason == "price"
    assert told_again(change, course, lost_reason="price", product="GTX") is None
    assert told_again(change, course[:1]) is None
    assert told_again(change, [Entry("visit", None), Entry("dropped", None)]) is None
    assert told_again(change, []) is None


def test_new_entries_are_moves_and_new_fields_a_change():
    known = told_first([Entry("visit", at(0))])
    change = told_again(known, [Entry("visit", at(0)), Entry("offer", at(2))], product="GTX")
    assert change is not None
    assert kinds(change.events) == ["DealChanged", "DealMoved"]
    changed, moved = change.events
    assert isinstance(changed, DealChanged)
    assert (changed.changed, changed.version, moved.version) == (("product",), 2, 3)
    assert moved.deal.product == "GTX"
    assert [(task.code, task.status) for task in change.tasks] == [
        ("call", "cancelled"),
        ("map", "cancelled"),
        ("price", "open"),
    ]


def test_contradicting_dates_correct_the_course_and_keep_what_came_after():
    known = told_first([Entry("visit", at(0)), Entry("offer", at(4))])
    change = told_again(known, [Entry("visit", at(1))])
    assert change is not None
    (event,) = change.events
    assert isinstance(event, DealCourseCorrected)
    assert [(entry.stage.code, entry.at) for entry in event.course] == [("visit", at(1)), ("offer", at(4))]
    assert change.deal.stage.code == "offer"
    assert change.deal.visit == known.deal.visit
    assert change.tasks == ()
    assert event.recorded_at == NOW + timedelta(minutes=5)


def test_contradicting_stages_replace_the_course_and_keep_known_dates():
    known = told_first([Entry("visit", at(0)), Entry("offer", at(4))])
    change = told_again(known, [Entry("visit", None), Entry("closed", at(6))])
    assert change is not None
    (event,) = change.events
    assert isinstance(event, DealCourseCorrected)
    assert [(entry.stage.code, entry.at, len(entry.passed)) for entry in event.course] == [
        ("visit", at(0), 0),
        ("closed", at(6), 2),
    ]
    assert (change.deal.status, change.deal.closed_at) == ("won", at(6))
    assert [(task.code, task.status) for task in change.tasks] == [("price", "cancelled")]


def test_a_date_that_becomes_known_corrects_the_course():
    known = told_first([Entry("visit", None)])
    change = told_again(known, [Entry("visit", at(2))])
    assert change is not None
    assert kinds(change.events) == ["DealCourseCorrected"]
    assert change.deal.stage_entered_at == at(2)
    assert change.deal.sla_due_at is not None


STAGES = st.sampled_from(["visit", "offer", "signing", "closed", "dropped"])
COURSES = st.lists(st.builds(Entry, STAGES, st.none() | st.integers(0, 400).map(at)), min_size=1, max_size=6)


@given(COURSES, st.lists(COURSES, max_size=3))
def test_whatever_is_told_is_recorded_once_and_agrees_with_the_events(first: list[Entry], later: list[list[Entry]]):
    change = told_first(first)
    events = change.events
    assert isinstance(events[0], DealCreated)
    deal, tasks = change.deal, {task.id: task for task in change.tasks}
    for course in [first, *later]:
        for repeat in range(2):
            present = [task for task in tasks.values() if task.visit == deal.visit]
            found = record_course(process(), Recorded(deal, course_of(events), present), course, {}, recording(1))
            assert repeat == 0 or found is None
            if found is not None:
                events, deal = (*events, *found.events), found.deal
                tasks |= {task.id: task for task in found.tasks}
    assert [event.version for event in events] == list(range(1, deal.version + 1))
    course = course_of(events)
    assert (course[-1].stage, course[-1].at) == (deal.stage, deal.stage_entered_at)
    assert events[-1].deal == deal.state
    for before, after in pairwise(events):
        assert after.before == before.deal
    open_now = {task.code for task in tasks.values() if task.status == "open"}
    assert open_now == {task.code for task in process().by_code[deal.stage.code].tasks}
