"""What runs on a data directory in the distributed mode, written down for those who come beside it."""

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

RECORD = "distributed.json"


@dataclass(frozen=True, slots=True)
class Place:
    """A process and where it serves."""

    pid: int
    url: str


@dataclass(frozen=True, slots=True)
class Running:
    """The launcher's process id, where the log and the gateway are, and each child by its name (`kpi-1`, `gateway`)."""

    pid: int
    bus_url: str
    gateway_url: str
    processes: dict[str, Place]

    def write(self, data_dir: Path) -> None:
        """Write it down at once and whole."""
        draft = data_dir / f"{RECORD}.{self.pid}"
        draft.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        draft.replace(data_dir / RECORD)


def running_on(data_dir: Path) -> Running | None:
    """Return what runs on `data_dir`; None when nothing does, whatever a killed launcher left there."""
    try:
        told = json.loads((data_dir / RECORD).read_text(encoding="utf-8"))
        os.kill(told["pid"], 0)
    except (FileNotFoundError, ProcessLookupError):
        return None
    processes = {name: Place(**place) for name, place in told["processes"].items()}
    return Running(told["pid"], told["bus_url"], told["gateway_url"], processes)


def forget(data_dir: Path) -> None:
    """Say that nothing runs any more."""
    with contextlib.suppress(FileNotFoundError):
        (data_dir / RECORD).unlink()
