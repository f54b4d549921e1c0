"""What processes cost: CPU time and peak memory from /proc, by what each process is."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
# The first that a command line contains names the process.
NAMES = {
    "services.pipeline": "pipeline",
    "services.kpi": "kpi",
    "services.goals": "goals",
    "services.notify": "notify",
    "deploy.gateway": "gateway",
    "kafka.Kafka": "Kafka",
    "postgres": "PostgreSQL",
}


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds so far, of ended children too; the largest resident set of any one process, in bytes."""

    cpu_seconds: float
    peak_bytes: int


def usage_below(root: int) -> Mapping[str, Usage]:
    """Return what `root` and everything that it started have used, by name; `root` itself is "server"."""
    cpu: defaultdict[str, float] = defaultdict(float)
    peak: defaultdict[str, int] = defaultdict(int)
    for pid in _tree(root):
        try:
            name = "server" if pid == root else _name(pid)
            # Children that have ended count with the one who waited for them: each second is found once.
            cpu[name] += sum(map(int, _stat(pid)[11:15])) / TICKS
            peak[name] = max(peak[name], _peak(pid))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return {name: Usage(seconds, peak[name]) for name, seconds in cpu.items()}


def cpu_between(before: Mapping[str, Usage], after: Mapping[str, Usage]) -> dict[str, float]:
    """Return the CPU seconds that each has used between two looks."""
    nothing = Usage(0.0, 0)
    return {name: used.cpu_seconds - before.get(name, nothing).cpu_seconds for name, used in after.items()}


def _tree(root: int) -> Iterator[int]:
    children: defaultdict[int, list[int]] = defaultdict(list)
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                children[int(_stat(int(path.name))[1])].append(int(path.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        waiting += children[pid]
        yield pid


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat behind the name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def _name(pid: int) -> str:
    command = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    return next((name for part, name in NAMES.items() if part in command), "other")


def _peak(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
