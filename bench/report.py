"""What a run found, as rows, as JSON, and as the block in the README that is made from it."""

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "latest.json"
BEGIN, END = "<!-- bench begin -->", "<!-- bench end -->"


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: ours against a raw loop, both per second; the latencies (ms) are ours."""

    what: str
    ours: float
    limit: str
    raw: float
    aim: float | None = None
    p50: float | None = None
    p99: float | None = None

    @property
    def ratio(self) -> float:
        return self.ours / self.raw if self.raw else 0.0

    @property
    def verdict(self) -> str:
        return "" if self.aim is None else ("reached" if self.ratio >= self.aim else "missed")


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Nearest-rank percentiles of latencies in milliseconds; nothing measured gives NaN."""

    p50: float
    p99: float
    samples: int

    @classmethod
    def of(cls, times: Sequence[float]) -> Self:
        ordered = sorted(times) or [math.nan]
        return cls(
            ordered[(len(ordered) - 1) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)], len(times)
        )

    def __str__(self) -> str:
        return f"{self.p50:,.0f} / {self.p99:,.0f}"


@dataclass(frozen=True, slots=True)
class Timing:
    """Moves offered by a fixed schedule; latencies count from when each was meant to leave.

    `lost` are watched moves that were not counted, or whose alert did not come, within the patience. `aims` in ms: KPI
    p50, KPI p99, alert p50.
    """

    mode: str
    offered: int
    accepted: float
    refused: int
    lost: int
    answer: Percentiles
    kpi: Percentiles
    alert: Percentiles
    aims: tuple[float, ...] = ()

    @property
    def verdict(self) -> str:
        if not self.aims:
            return ""
        found = (self.kpi.p50, self.kpi.p99, self.alert.p50)
        met = not self.lost and all(value <= aim for value, aim in zip(found, self.aims, strict=True))
        return f"≤ {' / '.join(f'{aim:.0f}' for aim in self.aims)} {'reached' if met else 'missed'}"


@dataclass(frozen=True, slots=True)
class Share:
    """The limit of a mode with 32 clients, and what it costs.

    `accepted` moves a second while clients send, `sustained` when everything that follows is waited for; CPU in us a
    move by process (all replicas of a service together), cores used when idle, peak resident set of one process in MiB.
    """

    mode: str
    accepted: float
    sustained: float
    p50: float
    p99: float
    cpu_us: Mapping[str, float]
    idle_cores: float
    peak_mib: Mapping[str, float]


@dataclass(slots=True)
class Findings:
    """All of a run; `left_out` says what could not be measured here, and why."""

    rows: list[Row] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)
    shares: list[Share] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def machine() -> str:
    """Return what it ran on, in one line."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _cpu_lines() if line.startswith("model name")), platform.processor()
    )
    return (
        f"{os.cpu_count()} cores {model}, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| what | ours /s | p50 ms | p99 ms | raw loop | raw /s | ratio | aim |",
        "|---|---:|---:|---:|---|---:|---:|---|",
    ]
    for row in rows:
        p50, p99 = (f"{value:.1f}" if value is not None else "" for value in (row.p50, row.p99))
        aim = f"≥ {row.aim:.2f} {row.verdict}" if row.aim is not None else ""
        lines.append(
            f"| {row.what} | {row.ours:,.0f} | {p50} | {p99} | {row.limit} | {row.raw:,.0f} | {row.ratio:.2f} | {aim} |"
        )
    return "\n".join(lines)


def timing_table(timings: Sequence[Timing]) -> str:
    """Return the latencies as a Markdown table."""
    lines = [
        "| end to end, ms p50 / p99 | offered /s | accepted /s | answer | KPI readable | alert handed over "
        "| aim: KPI p50 / p99 / alert p50 |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for one in timings:
        what = "".join(
            (one.mode, f", {one.refused} refused" * bool(one.refused), f", {one.lost} lost" * bool(one.lost))
        )
        lines.append(
            f"| {what} | {one.offered} | {one.accepted:,.0f} | {one.answer} | {one.kpi} | {one.alert} | {one.verdict} |"
        )
    return "\n".join(lines)


def share_table(shares: Sequence[Share]) -> str:
    """Return limits, CPU and memory by process as a Markdown table, a column for each mode."""
    names = list(dict.fromkeys(name for share in shares for name in share.cpu_us))
    cells = {
        "accepted /s": [f"{share.accepted:,.0f}" for share in shares],
        "p50 / p99 ms": [f"{share.p50:,.0f} / {share.p99:,.0f}" for share in shares],
        "sustained /s, all that follows included": [f"{share.sustained:,.0f}" for share in shares],
        **{
            f"{name}: CPU us a move, peak MiB": [
                f"{share.cpu_us[name]:,.0f}, {share.peak_mib[name]:,.0f}" if name in share.cpu_us else ""
                for share in shares
            ]
            for name in names
        },
        "all: CPU us a move": [f"{sum(share.cpu_us.values()):,.0f}" for share in shares],
        "cores used when idle": [f"{share.idle_cores:.2f}" for share in shares],
    }
    head = f"| | {' | '.join(share.mode for share in shares)} |\n|---|{'---:|' * len(shares)}"
    return "\n".join([head, *(f"| {what} | {' | '.join(values)} |" for what, values in cells.items())])


def text_of(found: Findings) -> str:
    """Return all tables, and loudly what was left out."""
    parts = [table(found.rows)] if found.rows else []
    parts += [timing_table(found.timings)] if found.timings else []
    parts += [share_table(found.shares)] if found.shares else []
    parts += [f"**LEFT OUT: {reason}**" for reason in found.left_out]
    return "\n\n".join(parts)


def save(found: Findings) -> None:
    """Write the JSON."""
    RESULTS.parent.mkdir(exist_ok=True)
    rows = [asdict(row) | {"ratio": round(row.ratio, 3)} for row in found.rows]
    RESULTS.write_text(
        json.dumps({"machine": machine(), **asdict(found), "rows": rows}, indent=2) + "\n", encoding="utf-8"
    )


def write_readme(found: Findings) -> None:
    """Replace the figures in the README by those of this run."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    block = (
        f"{BEGIN}\nMeasured by `make bench` on {machine()}; load generator, server and PostgreSQL share the cores.\n\n"
    )
    readme.write_text(f"{before}{block}{text_of(found)}\n{END}{after}", encoding="utf-8")
