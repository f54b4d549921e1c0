"""What is written down of a distributed mode holds as long as its launcher lives."""

import os
import subprocess
import sys
from pathlib import Path

from deploy.running import Place, Running, forget, running_on


def test_a_record_is_found_while_its_launcher_lives(tmp_path: Path) -> None:
    assert running_on(tmp_path) is None
    told = Running(os.getpid(), "kafka://127.0.0.1:9", "http://127.0.0.1:8", {"kpi-1": Place(7, "http://127.0.0.1:7")})
    told.write(tmp_path)
    assert running_on(tmp_path) == told
    assert [path.name for path in tmp_path.iterdir()] == ["distributed.json"]
    forget(tmp_path)
    forget(tmp_path)
    assert running_on(tmp_path) is None


def test_what_a_killed_launcher_left_is_nothing(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    Running(ended.pid, "kafka://127.0.0.1:9", "http://127.0.0.1:8", {}).write(tmp_path)
    assert running_on(tmp_path) is None
