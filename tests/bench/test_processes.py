"""CPU time of processes and of those that they started, also of ended ones."""

import os
import subprocess
import sys

from bench.processes import cpu_between, usage_below

BURN = "import time\nwhile time.process_time() < 0.3: pass\n"
PARENT = (
    f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BURN!r}])\nprint('done', flush=True)\ninput()\n"
)


def test_an_ended_child_counts_with_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with parent:
        assert parent.stdout is not None
        assert parent.stdin is not None
        assert parent.stdout.readline() == b"done\n"
        used = usage_below(parent.pid)
        parent.stdin.close()
    assert used["server"].cpu_seconds >= 0.25
    assert used["server"].peak_bytes > 2**20


def test_cpu_between_two_looks_is_that_of_the_time_between() -> None:
    before = usage_below(os.getpid())
    subprocess.run([sys.executable, "-c", BURN], check=True)
    spent = cpu_between(before, usage_below(os.getpid()))
    assert spent["server"] >= 0.25
