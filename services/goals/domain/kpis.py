"""The KPIs a goal can be set for, as data: what their numbers are and how they behave over people and time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from shared.events.kpi import Unit


@dataclass(frozen=True, slots=True)
class Kpi:
    """A KPI as goals needs to know it.

    `additive`: the values of people sum to the value of their team, so a target can be shared out.
    `accumulates`: the value grows from zero through the period, so what is expected so far is a part of the target.
    `direction`: `up` when more is better. `mean`: its value is a quotient, with six digits where it is not money.
    """

    key: str
    unit: Unit
    additive: bool = False
    accumulates: bool = False
    mean: bool = False
    direction: Literal["up", "down"] = "up"


KPIS: Mapping[str, Kpi] = {
    kpi.key: kpi
    for kpi in (
        Kpi("deals_created", "count", additive=True, accumulates=True),
        Kpi("stage_entries", "count", additive=True, accumulates=True),
        Kpi("stage_conversion", "ratio", mean=True),
        Kpi("stage_dwell", "seconds", mean=True, direction="down"),
        Kpi("won_count", "count", additive=True, accumulates=True),
        Kpi("won_amount", "money", additive=True, accumulates=True),
        Kpi("lost_count", "count", additive=True, accumulates=True, direction="down"),
        Kpi("win_rate", "ratio", mean=True),
        Kpi("average_deal_size", "money", mean=True),
        Kpi("sales_cycle_days", "count", mean=True, direction="down"),
        Kpi("open_pipeline_amount", "money", additive=True),
    )
}
