"""One move, decided: allowed, refused with every reason, recorded as a fact, overridden."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from services.pipeline.domain.deal import Deal, Task
from services.pipeline.domain.move import Move, Moved, Refused, decide_move
from services.pipeline.domain.process import Process
from shared.ids import new_id
from tests.services.pipeline.building import NOW, new_deal, process, recording, stage


def move_to(target: str, **more: Any) -> Move:
    return Move(new_id(), target, more.pop("occurred_at", NOW + timedelta(hours=1)), **more)


def decide(deal: Deal, tasks: tuple[Task, ...], move: Move, of: Process | None = None) -> Moved | Refused:
    return decide_move(of or process(), deal, tasks, move, recording(60))


def done(task: Task, **result: Any) -> Task:
    return msgspec.structs.replace(task, status="done", done_at=NOW, result=result or None)


def test_a_refusal_names_every_unmet_criterion():
    change = new_deal()
    refused = decide(change.deal, change.tasks, move_to("signing"))
    assert isinstance(refused, Refused)
    assert refused.code == "gate_unmet"
    assert [(unmet.criterion, unmet.pointer) for unmet in refused.unmet] == [
        ("tasks_done:call", "/tasks/call"),
        ("field_present:fields.budget", "/fields/budget"),
        ("known", "/customer_id"),
    ]
    assert refused.unmet[0].message.en == "The mandatory task “Call” is not done"
    assert refused.unmet[0].message.zh == "必做任务“Call（中）”尚未完成"


def test_a_met_gate_moves_the_deal_and_opens_the_next_tasks():
    change = new_deal(fields={"budget": "yes"}, amount=5000, currency="CNY", owner="external:7")
    call, optional = change.tasks
    moved = decide(change.deal, (done(call), optional), move_to("offer", reason="agreed"))
    assert isinstance(moved, Moved)
    after, event = moved.change.deal, moved.event
    assert (after.version, after.visit, after.stage.code, after.status) == (2, 2, "offer", "open")
    assert after.stage_entered_at == NOW + timedelta(hours=1)
    assert after.sla_due_at == NOW + timedelta(days=7, hours=1)
    assert (event.version, event.before, event.deal) == (2, change.deal.state, after.state)
    assert (event.broke, event.overridden, event.passed, event.actor) == ((), False, (), "ann")
    assert moved.change.reasons == {2: "agreed"}
    assert [(task.code, task.status, task.visit) for task in moved.change.tasks] == [
        ("map", "cancelled", 1),
        ("price", "open", 2),
    ]
    assert moved.change.tasks[0].version == optional.version + 1


def test_business_time_leaves_out_the_weekend():
    friday = datetime(2026, 11, 27, 1, 0, tzinfo=UTC)
    deal = new_deal(stage_code="signing", customer_id=new_id()).deal
    moved = decide(deal, (), move_to("visit", occurred_at=friday), process(moves="any"))
    assert isinstance(moved, Moved)
    assert moved.change.deal.sla_due_at == datetime(2026, 12, 1, 1, 0, tzinfo=UTC)
    assert [task.due_at for task in moved.change.tasks] == [friday + timedelta(hours=4), friday + timedelta(days=3)]


def test_moves_the_process_does_not_know_are_refused_with_the_gate_beside():
    change = new_deal(stage_code="offer")
    refused = decide(change.deal, change.tasks, move_to("visit"))
    assert isinstance(refused, Refused)
    assert refused.code == "move_not_allowed"
    assert [unmet.criterion for unmet in refused.unmet] == ["move_not_allowed"]


@pytest.mark.parametrize("target", ["closed", "dropped"])
def test_the_exit_gate_is_asked_of_won_and_not_of_lost(target: str):
    change = new_deal()
    decided = decide(change.deal, change.tasks, move_to(target, lost_reason="price"))
    assert isinstance(decided, Refused) is (target == "closed")


def test_lost_needs_a_reason_and_reopening_forgets_it():
    change = new_deal()
    assert decide(change.deal, (), move_to("dropped")) == Refused("lost_reason_required")
    lost = decide(change.deal, (), move_to("dropped", lost_reason="price"))
    assert isinstance(lost, Moved)
    closed = lost.change.deal
    assert (closed.status, closed.lost_reason, closed.closed_at) == ("lost", "price", NOW + timedelta(hours=1))
    assert closed.sla_due_at is None
    reopened = decide(closed, (), move_to("visit"))
    assert isinstance(reopened, Moved)
    assert (reopened.change.deal.status, reopened.change.deal.lost_reason) == ("open", None)
    assert reopened.change.deal.closed_at is None
    assert reopened.change.deal.visit == 3
    assert [task.visit for task in reopened.change.tasks] == [3, 3]


def test_facts_are_recorded_and_flagged_with_what_they_broke():
    change = new_deal(stage_code="offer")
    fact = decide(change.deal, change.tasks, move_to("visit", fact=True, occurred_at=None))
    assert isinstance(fact, Moved)
    assert fact.event.broke == ("move_not_allowed",)
    assert fact.event.occurred_at is None
    assert fact.change.deal.sla_due_at is None
    assert not fact.event.overridden
    lost = decide(change.deal, change.tasks, move_to("dropped", fact=True))
    assert isinstance(lost, Moved)
    assert lost.event.broke == ("lost_reason",)


def test_an_override_records_what_it_broke():
    change = new_deal()
    moved = decide(change.deal, change.tasks, move_to("offer", override="the board said so"))
    assert isinstance(moved, Moved)
    assert moved.event.overridden
    assert moved.event.broke == ("tasks_done:call", "field_present:fields.budget")
    assert moved.change.reasons == {2: "the board said so"}


def test_an_override_that_was_not_needed_is_none():
    moved = decide(new_deal().deal, (), move_to("dropped", lost_reason="price", override="just because"))
    assert isinstance(moved, Moved)
    assert not moved.event.overridden


@pytest.mark.parametrize("fact", [False, True])
def test_the_same_or_an_unknown_stage_is_no_move(fact: bool):
    deal = new_deal().deal
    assert decide(deal, (), move_to("visit", fact=fact)) == Refused("already_in_stage")
    assert decide(deal, (), move_to("nowhere", fact=fact)) == Refused("unknown_stage")


@pytest.mark.parametrize(
    ("criterion", "told", "met"),
    [
        ({"kind": "field_at_least", "field": "amount", "value": "100.00"}, {"amount": 10000, "currency": "CNY"}, True),
        ({"kind": "field_at_least", "field": "amount", "value": "100.01"}, {"amount": 10000, "currency": "CNY"}, False),
        ({"kind": "field_at_least", "field": "amount", "value": 100}, {"amount": 100, "currency": "JPY"}, True),
        ({"kind": "field_at_least", "field": "fields.score", "value": 60}, {"fields": {"score": 60}}, True),
        ({"kind": "field_at_least", "field": "fields.score", "value": 60}, {"fields": {"score": "high"}}, False),
        ({"kind": "field_at_least", "field": "fields.score", "value": 0}, {"fields": {"score": True}}, False),
        ({"kind": "field_equals", "field": "fields.ok", "value": True}, {"fields": {"ok": True}}, True),
        ({"kind": "field_equals", "field": "fields.ok", "value": True}, {"fields": {"ok": 1}}, False),
        ({"kind": "field_equals", "field": "fields.n", "value": 1}, {"fields": {"n": "1.0"}}, True),
        ({"kind": "field_equals", "field": "product", "value": "GTX"}, {"product": "GTX"}, True),
        ({"kind": "field_equals", "field": "product", "value": "GTX"}, {}, False),
        ({"kind": "field_present", "field": "fields.note"}, {"fields": {"note": "  "}}, False),
        ({"kind": "field_present", "field": "fields.note"}, {"fields": {"note": 0}}, True),
        ({"kind": "field_present", "field": "expected_close_on"}, {}, False),
    ],
)
def test_criteria_on_fields(criterion: dict[str, Any], told: dict[str, Any], met: bool):
    made = process(stages=[stage("a", exit_criteria=[criterion]), stage("b"), stage("w", "won")])
    decided = decide(new_deal(made, **told).deal, (), move_to("b"), made)
    assert isinstance(decided, Moved) is met


@pytest.mark.parametrize(
    ("criterion", "results", "met"),
    [
        ({"kind": "task_done", "task": "show"}, {"show": {}}, True),
        ({"kind": "task_done", "task": "show"}, {"ask": {}}, False),
        ({"kind": "evidence", "field": "link"}, {"ask": {"link": "doc-7"}}, True),
        ({"kind": "evidence", "field": "link", "task": "show"}, {"ask": {"link": "doc-7"}}, False),
        ({"kind": "evidence", "field": "link", "task": "show"}, {"show": {"link": " "}}, False),
        ({"kind": "evidence", "field": "link", "task": "show"}, {"show": {"link": "doc-7"}}, True),
    ],
)
def test_criteria_on_tasks(criterion: dict[str, Any], results: dict[str, dict[str, Any]], met: bool):
    tasks = [{"code": code, "name": {"zh": code, "en": code}, "mandatory": False} for code in ("show", "ask")]
    made = process(stages=[stage("a", tasks=tasks, exit_criteria=[criterion]), stage("b"), stage("w", "won")])
    change = new_deal(made)
    present = tuple(
        done(task, **results[task.code]) if task.code in results else task for task in change.tasks if task.code
    )
    decided = decide(change.deal, present, move_to("b"), made)
    assert isinstance(decided, Moved) is met
    if isinstance(decided, Refused):
        assert decided.unmet[0].message.zh
        assert decided.unmet[0].message.en


def test_a_criterion_speaks_with_its_own_code_and_message():
    criterion = {"kind": "field_present", "field": "product", "code": "p", "message": {"zh": "选产品", "en": "Choose"}}
    made = process(stages=[stage("a", exit_criteria=[criterion]), stage("b"), stage("w", "won")])
    refused = decide(new_deal(made).deal, (), move_to("b"), made)
    assert isinstance(refused, Refused)
    assert (refused.unmet[0].criterion, refused.unmet[0].message.zh) == ("p", "选产品")
