"""The KPIs as data: which sums of which measure each is made of, in which unit, sliced by what.

A change of meaning is a new version and a rebuild. The names are for people; the keys are for ever.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from services.kpi.domain import facts
from shared.events.base import Names
from shared.events.kpi import Unit

# sum: `part`; ratio and mean: `part` / den, divided last; gauge: `part` added up from the beginning to a period's end.
Kind = Literal["sum", "ratio", "mean", "gauge"]
# rest: what of den is not num.
Part = Literal["num", "n", "rest"]
Dimension = Literal["process", "stage", "product", "source", "owner"]

_DEAL: tuple[Dimension, ...] = ("process", "product", "source", "owner")
_STAGE: tuple[Dimension, ...] = ("process", "stage", "product", "source", "owner")


class Sums(NamedTuple):
    """What cells add up to."""

    num: int
    den: int
    n: int

    def plus(self, other: "Sums") -> "Sums":
        return Sums(self.num + other.num, self.den + other.den, self.n + other.n)


NOTHING = Sums(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Definition:
    """One KPI. `description` says the formula in words, as the answer to "how is this counted"."""

    key: str
    name: Names
    description: Names
    measure: int
    kind: Kind
    unit: Unit
    part: Part
    dimensions: tuple[Dimension, ...]
    direction: Literal["up", "down"] = "up"
    version: int = 1

    @property
    def is_quotient(self) -> bool:
        return self.kind in ("ratio", "mean")

    def part_of(self, sums: Sums) -> int:
        return sums.den - sums.num if self.part == "rest" else getattr(sums, self.part)

    def sample_size(self, sums: Sums) -> int:
        """Return how many cases a value stands on."""
        if self.is_quotient:
            return sums.den
        return sums.n if self.unit == "money" else self.part_of(sums)


_ALL = (
    Definition(
        "deals_created",
        Names("新建商机数", "Deals created"),
        Names("按创建日统计的商机数", "Deals by the day of their first stage entry"),
        facts.CREATED,
        "sum",
        "count",
        "n",
        _DEAL,
    ),
    Definition(
        "stage_entries",
        Names("阶段进入次数", "Stage entries"),
        Names("进入各阶段的次数，重复进入也计", "Every entry into a stage, re-entries too"),
        facts.ENTRIES,
        "sum",
        "count",
        "n",
        _STAGE,
    ),
    Definition(
        "stage_conversion",
        Names("阶段转化率（同期群）", "Stage conversion (cohort)"),
        Names(
            "首次进入该阶段的商机中，之后到达更后阶段（不含输单）的比例；跳过的阶段视为进入",
            "Of the deals that first entered the stage in the period, those that reached a later stage other than lost;"
            " a skipped stage counts as entered",
        ),
        facts.REACHED,
        "ratio",
        "ratio",
        "num",
        _STAGE,
    ),
    Definition(
        "stage_dwell",
        Names("阶段停留时长", "Stage dwell"),
        Names(
            "已结束的阶段停留的平均秒数，按离开日", "Mean seconds of the ended stays in a stage, by the day they ended"
        ),
        facts.DWELL,
        "mean",
        "seconds",
        "num",
        _STAGE,
        "down",
    ),
    Definition(
        "won_count",
        Names("成交数", "Deals won"),
        Names("按成交日统计的成交商机数", "Deals won, by the day of closing"),
        facts.CLOSED,
        "sum",
        "count",
        "num",
        _DEAL,
    ),
    Definition(
        "won_amount",
        Names("成交金额", "Won amount"),
        Names(
            "按成交日统计的成交金额，每币种一值",
            "Amount of the deals won, by the day of closing, one value per currency",
        ),
        facts.WON_VALUE,
        "sum",
        "money",
        "num",
        _DEAL,
    ),
    Definition(
        "lost_count",
        Names("输单数", "Deals lost"),
        Names("按输单日统计的输单商机数", "Deals lost, by the day of closing"),
        facts.CLOSED,
        "sum",
        "count",
        "rest",
        _DEAL,
        "down",
    ),
    Definition(
        "win_rate",
        Names("赢单率", "Win rate"),
        Names("成交数 ÷（成交数 + 输单数），按关闭日", "Won / (won + lost), by the day of closing"),
        facts.CLOSED,
        "ratio",
        "ratio",
        "num",
        _DEAL,
    ),
    Definition(
        "average_deal_size",
        Names("平均成交金额", "Average deal size"),
        Names(
            "成交金额 ÷ 有金额的成交数，每币种一值",
            "Won amount / deals won with an amount other than zero, per currency",
        ),
        facts.WON_VALUE,
        "mean",
        "money",
        "num",
        _DEAL,
    ),
    Definition(
        "sales_cycle_days",
        Names("销售周期（天）", "Sales cycle (days)"),
        Names("成交商机从创建到成交的平均自然日数", "Mean local days from creation to won, by the day of closing"),
        facts.CYCLE,
        "mean",
        "count",
        "num",
        _DEAL,
        "down",
    ),
    Definition(
        "open_pipeline_amount",
        Names("在途商机金额", "Open pipeline amount"),
        Names(
            "期末仍未关闭的商机金额（按现金额），每币种一值",
            "Present amount of the deals open at the period's end, per currency",
        ),
        facts.OPEN_VALUE,
        "gauge",
        "money",
        "num",
        _STAGE,
    ),
)
DEFINITIONS: Mapping[str, Definition] = {definition.key: definition for definition in _ALL}
