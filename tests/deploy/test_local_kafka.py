"""The local Kafka: it ends with whoever started it, however that one ends, and says what it needs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.kafka.jars import LocalKafkaError, fetch_jars

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

# A parent of its own, which tells where its broker is and then waits for its end.
PARENT = """
import asyncio, sys
from deploy.kafka.cluster import running_kafka
with running_kafka() as kafka:
    asyncio.run(kafka.wait_ready())
    print(kafka.brokers[0].pid, kafka.brokers[0].folder, flush=True)
    sys.stdin.read()
"""


def alive(pid: int) -> bool:
    """A zombie is not alive: whoever inherits it may reap it late."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def parent(kafka_servers: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    with process:
        yield process
        process.kill()


@pytest.mark.parametrize("how", ["at the end of its block", "killed"])
def test_it_ends_with_its_parent_and_leaves_nothing(parent: subprocess.Popen[str], how: str) -> None:
    assert parent.stdout is not None
    pid, folder = parent.stdout.readline().split()
    assert alive(int(pid))
    if how == "killed":
        os.kill(parent.pid, signal.SIGKILL)
    else:
        assert parent.stdin is not None
        parent.stdin.close()
    wait_until(lambda: not alive(int(pid)))
    wait_until(lambda: not Path(folder).parent.exists())


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("KAFKA_DIRECTORY", str(tmp_path / "jars"))
    with pytest.raises(LocalKafkaError, match="a local Kafka needs java and mvn: install"):
        fetch_jars()
    assert not (tmp_path / "jars").exists()
