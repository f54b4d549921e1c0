"""What a run found, as rows, as JSON, and as the block in the README that is made from it."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

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


def save(rows: Sequence[Row]) -> None:
    """Write the JSON and, where the README has the block, the block."""
    RESULTS.parent.mkdir(exist_ok=True)
    content = {"machine": machine(), "rows": [asdict(row) | {"ratio": round(row.ratio, 3)} for row in rows]}
    RESULTS.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_readme(rows: Sequence[Row]) -> None:
    """Replace the figures in the README by those of this run."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    block = (
        f"{BEGIN}\nMeasured by `make bench` on {machine()}; load generator, server and PostgreSQL share the cores.\n\n"
    )
    readme.write_text(f"{before}{block}{table(rows)}\n{END}{after}", encoding="utf-8")
