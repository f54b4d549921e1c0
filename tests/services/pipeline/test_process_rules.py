"""Every fault of a process is found at once; good ones have none."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.pipeline.domain.process import Process, duration
from services.pipeline.domain.process_rules import faults_of, with_mandatory_tasks_asked
from services.pipeline.use_cases.processes import read_default_process
from tests.services.pipeline.building import definition, names, process, stage

BUILT_IN_KPIS = {
    "deals_created", "stage_entries", "stage_conversion", "stage_dwell", "won_count", "won_amount", "lost_count",
    "win_rate", "average_deal_size", "sales_cycle_days", "open_pipeline_amount",
}  # fmt: skip


def test_all_faults_are_told_at_once():
    broken = process(
        stages=[
            stage("a", sla="soon", win_probability="1.5", kpis=[{"kpi": "win_rate", "target": "half"}]),
            stage(
                "a",
                tasks=[{"code": "t", "name": names("t"), "due": "P1M"}, {"code": "t", "name": names("t")}],
                exit_criteria=[
                    {"kind": "task_done", "task": "missing"},
                    {"kind": "field_present", "field": "colour"},
                    {"kind": "field_at_least", "field": "amount", "value": "much"},
                ],
                entry_criteria=[{"kind": "tasks_done"}],
            ),
            stage("lost", "lost", sla="P1D"),
        ],
        moves=[["a", "b"], ["a", "a"], ["a", "lost"], ["a", "lost"]],
    )
    assert [(fault.pointer, fault.code) for fault in faults_of(broken)] == [
        ("/stages/1/code", "duplicate_code"),
        ("/stages/0/sla", "invalid_duration"),
        ("/stages/0/win_probability", "invalid_probability"),
        ("/stages/0/kpis/0/target", "invalid_number"),
        ("/stages/1/tasks/1/code", "duplicate_code"),
        ("/stages/1/tasks/0/due", "invalid_duration"),
        ("/stages/1/exit_criteria/0/task", "unknown_task"),
        ("/stages/1/exit_criteria/1/field", "unknown_field"),
        ("/stages/1/exit_criteria/2/value", "invalid_number"),
        ("/stages/1/entry_criteria/0", "task_criterion_at_entry"),
        ("/stages/2/sla", "closed_stage_sla"),
        ("/stages", "no_won_stage"),
        ("/moves/0/1", "unknown_stage"),
        ("/moves/1", "same_stage"),
        ("/moves/3", "duplicate_move"),
    ]
    assert all(fault.message.zh and fault.message.en for fault in faults_of(broken))


@pytest.mark.parametrize("text", ["P3661D", "P2000000D", "P99999999D", "PT87841H", "P" + "9" * 30 + "W"])
def test_durations_beyond_ten_years_are_refused(text):
    broken = process(
        stages=[stage("a", sla=text, tasks=[{"code": "t", "name": names("t"), "due": text}]), stage("won", "won")]
    )
    assert [(fault.pointer, fault.code) for fault in faults_of(broken)] == [
        ("/stages/0/sla", "invalid_duration"),
        ("/stages/0/tasks/0/due", "invalid_duration"),
    ]


def test_ten_years_are_a_duration():
    assert faults_of(process(stages=[stage("a", sla="P3660D"), stage("won", "won")])) == ()


def test_a_good_process_has_no_faults():
    assert faults_of(process()) == ()


def test_a_mandatory_task_is_always_asked_for_at_the_exit():
    asked = with_mandatory_tasks_asked(process())
    assert [type(criterion).__name__ for criterion in asked.by_code["offer"].exit_criteria] == [
        "TasksDone",
        "FieldAtLeast",
    ]
    assert asked.by_code["visit"] == process().by_code["visit"]
    assert asked.by_code["signing"].exit_criteria == ()


def test_the_definition_survives_json():
    assert msgspec.json.decode(msgspec.json.encode(process()), type=Process) == process()
    assert process(moves=[["visit", "offer"]]).moves == (("visit", "offer"),)


def test_the_default_process_is_what_the_article_asks_for():
    standard = read_default_process()
    assert faults_of(standard) == ()
    assert with_mandatory_tasks_asked(standard) == standard
    assert [(stage.code, stage.name.zh, stage.kind) for stage in standard.stages] == [
        ("prospecting", "客户开发", "open"),
        ("needs_analysis", "需求分析", "open"),
        ("demo", "产品演示", "open"),
        ("quote", "报价", "open"),
        ("negotiation", "谈判", "open"),
        ("won", "成交", "won"),
        ("lost", "输单", "lost"),
    ]
    for each in standard.stages:
        if each.kind == "open":
            assert len(each.tasks) >= 3
            assert len(each.exit_criteria) >= 2
            assert each.sla is not None
            assert each.kpis
            assert all(kpi.kpi in BUILT_IN_KPIS and kpi.target for kpi in each.kpis)
        texts = [each.name, *(task.name for task in each.tasks)]
        texts += [criterion.message for criterion in each.exit_criteria if criterion.message]
        assert all(text.zh and text.en for text in texts)


@pytest.mark.parametrize(
    ("start", "target", "forward"),
    [
        ("visit", "offer", True),
        ("visit", "signing", True),
        ("offer", "visit", False),
        ("visit", "closed", True),
        ("signing", "dropped", True),
        ("closed", "visit", True),
        ("dropped", "signing", True),
        ("closed", "dropped", False),
        ("dropped", "closed", False),
    ],
)
def test_what_forward_any_and_pairs_mean(start: str, target: str, forward: bool):
    assert process(moves="forward").knows_move(start, target) is forward
    assert process(moves="any").knows_move(start, target)
    assert process(moves=[[start, target]]).knows_move(start, target)
    assert not process(moves=[[start, target]]).knows_move(target, start)


def test_a_forward_move_passes_the_open_stages_between():
    def passed(start: str, target: str) -> list[str]:
        return [place.code for place in process().passed(start, target)]

    assert passed("visit", "signing") == ["offer"]
    assert passed("visit", "closed") == ["offer", "signing"]
    assert passed("visit", "offer") == []
    assert passed("visit", "dropped") == []
    assert passed("signing", "visit") == []
    assert passed("closed", "signing") == []


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_durations_add_up(days: int, hours: int, seconds: int):
    assert duration(f"P{days}DT{hours}H{seconds}S").total_seconds() == days * 86400 + hours * 3600 + seconds


@pytest.mark.parametrize("text", ["P", "PT", "5D", "", "P1M", "P-1D", "P1.5D", "PT1H30", " P1D"])
def test_what_is_no_duration(text: str):
    with pytest.raises(ValueError, match="not a duration"):
        duration(text)


def test_closed_stages_know_their_win_probability():
    made = process(stages=[stage("a", win_probability="0.25"), stage("b"), stage("w", "won"), stage("l", "lost")])
    assert [str(made.win_probability(code)) for code in "abwl"] == ["0.25", "None", "1", "0"]
    assert definition()["code"] == made.code
