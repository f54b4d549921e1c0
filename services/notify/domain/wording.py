"""The sentences of alerts, in Chinese and English."""

from collections.abc import Mapping

from services.notify.domain.conditions import DealEventName, GoalEventName, Operator
from shared.events.base import Names
from shared.language import Language

OPERATORS: Mapping[Operator, Names] = {
    "lt": Names("低于", "below"),
    "le": Names("不高于", "not above"),
    "gt": Names("高于", "above"),
    "ge": Names("不低于", "not below"),
}

VALUES: Mapping[str, Names] = {
    "fired": Names(
        "{scope}的{kpi}为 {value}，{operator} {threshold}", "{kpi} of {scope} is {value}, {operator} {threshold}"
    ),
    "resolved": Names("已恢复：{scope}的{kpi}回到 {back}", "Resolved: {kpi} of {scope} is back at {back}"),
    "ended": Names("已结束：{scope}的{kpi}", "Ended: {kpi} of {scope}"),
}

DEALS: Mapping[DealEventName, Names] = {
    "deal_created": Names("新商机「{deal}」", "New deal “{deal}”"),
    "deal_moved": Names("商机「{deal}」进入「{stage}」", "Deal “{deal}” moved to {stage}"),
    "deal_won": Names("商机「{deal}」赢单", "Deal “{deal}” was won"),
    "deal_lost": Names("商机「{deal}」输单", "Deal “{deal}” was lost"),
    "deal_reopened": Names("商机「{deal}」重新打开", "Deal “{deal}” was reopened"),
    "deal_deleted": Names("商机「{deal}」已删除", "Deal “{deal}” was deleted"),
    "gate_broken": Names(
        "商机「{deal}」未达标准即进入「{stage}」", "Deal “{deal}” entered {stage} without meeting its standard"
    ),
    "gate_overridden": Names("商机「{deal}」经特批进入「{stage}」", "Deal “{deal}” entered {stage} by an override"),
    "sla_breached": Names("商机「{deal}」在「{stage}」停留超时", "Deal “{deal}” has stayed in {stage} for too long"),
}

GOALS: Mapping[GoalEventName, Names] = {
    "goal_on_track": Names("目标「{goal}」回到正轨（{whose}）", "Goal “{goal}” is on track ({whose})"),
    "goal_at_risk": Names("目标「{goal}」有风险（{whose}）", "Goal “{goal}” is at risk ({whose})"),
    "goal_reached": Names("目标「{goal}」已达成（{whose}）", "Goal “{goal}” is reached ({whose})"),
    "goal_missed": Names("目标「{goal}」未达成（{whose}）", "Goal “{goal}” is missed ({whose})"),
}

RECOVERED = Names("已处理：{title}", "Resolved: {title}")

# What stands below the title, in this order, where there is something to say.
ASIDES: Mapping[str, tuple[str, ...]] = {
    "kpi": ("rule", "period", "sample_size"),
    "deal": ("customer", "owner", "amount", "stage", "broke", "reason", "rule"),
    "goal": ("kpi", "result", "target", "attainment", "period", "rule"),
}
LABELS: Mapping[str, Names] = {
    "rule": Names("规则", "rule"),
    "period": Names("期间", "period"),
    "sample_size": Names("样本", "sample"),
    "customer": Names("客户", "customer"),
    "owner": Names("负责人", "owner"),
    "amount": Names("金额", "amount"),
    "stage": Names("阶段", "stage"),
    "broke": Names("未达标准", "criteria not met"),
    "reason": Names("输单原因", "reason of loss"),
    "kpi": Names("指标", "KPI"),
    "result": Names("结果", "result"),
    "target": Names("目标值", "target"),
    "attainment": Names("完成率", "attainment"),
}
LABELLED: Mapping[Language, tuple[str, str]] = {"zh": ("{label}：{value}", "，"), "en": ("{label}: {value}", ", ")}
