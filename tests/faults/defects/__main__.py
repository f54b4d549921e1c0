"""Prove that the tests can fail: `python -m tests.faults.defects [NAME ...]`.

Each defect of the catalogue is built into a COPY of the tree, alone, and the tests that should catch it run there. It is
found when at least one of them turns red; before, all of them must be green without it. Exit 1 when a defect survives.
"""

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.faults.defects.catalogue import DEFECTS, Defect
from tests.postgres_cluster import temporary_directory

ROOT = Path(__file__).resolve().parents[3]
LEFT_BEHIND = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info", "dist")
# What pytest says by its exit code; anything else is a run that did not come to test anything.
GREEN, RED = 0, 1
LONGEST_RUN = 900


class Unproven(Exception):  # noqa: N818 - the name of the fact
    """The run says nothing about the defect."""


def run_tests(tree: Path, tests: Sequence[str]) -> tuple[int, list[str]]:
    """Return pytest's exit code and the names of the tests that turned red."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", "-o", "addopts="]
    options = ["--import-mode=importlib", "-rfE", "-p", "no:schemathesis", "--tb=no"]
    done = subprocess.run(
        [*command, *options, *tests], cwd=tree, capture_output=True, text=True, timeout=LONGEST_RUN, check=False
    )
    lines = done.stdout.splitlines()
    red = [line.split()[1] for line in lines if line.startswith(("FAILED ", "ERROR "))]
    if done.returncode not in (GREEN, RED) or (
        done.returncode == RED and any(line.startswith("ERROR ") for line in lines)
    ):
        raise Unproven(f"pytest ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-2000:]}")
    return done.returncode, red


def build_in(tree: Path, defect: Defect) -> str:
    """Edit the file of a defect in `tree` and return what stood there; raises Unproven when the code has moved."""
    path = tree / defect.file
    sound = path.read_text(encoding="utf-8")
    if (times := sound.count(defect.find)) != 1:
        raise Unproven(f"{defect.file}: the text of the defect stands there {times} times, not once")
    path.write_text(sound.replace(defect.find, defect.replace), encoding="utf-8")
    return sound


def is_found(tree: Path, defect: Defect) -> bool:
    """Say whether a test turns red with the defect, and print which."""
    began = time.monotonic()
    sound = build_in(tree, defect)
    try:
        code, red = run_tests(tree, defect.tests)
    finally:
        (tree / defect.file).write_text(sound, encoding="utf-8")
    told = f"found by {red[0]}" if code == RED else "NOT FOUND"
    print(f"{defect.name:62} {told} ({time.monotonic() - began:.0f} s)", flush=True)
    return code == RED


def copied(into: Path) -> Path:
    """Copy the tree, and make sure that what runs there is the copy."""
    tree = Path(shutil.copytree(ROOT, into / "tree", ignore=LEFT_BEHIND))
    where = "import shared, services, tests.faults.toy as toy; print(shared.__file__, services.__file__, toy.__file__)"
    files = subprocess.run([sys.executable, "-c", where], cwd=tree, capture_output=True, text=True, check=True).stdout
    if not all(file.startswith(str(tree)) for file in files.split()):
        raise Unproven(f"the tests would run other code than the copy in {tree}: {files}")
    return tree


def prove(defects: Sequence[Defect]) -> int:
    """Return how many of `defects` no test has found."""
    with temporary_directory() as directory:
        tree = copied(directory)
        code, red = run_tests(tree, sorted({test for defect in defects for test in defect.tests}))
        if code != GREEN:
            raise Unproven(f"red without any defect: {red}")
        survivors = [defect for defect in defects if not is_found(tree, defect)]
    print(f"{len(defects) - len(survivors)} of {len(defects)} defects found")
    return len(survivors)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only defects whose name contains one of these")
    parser.add_argument("--list", action="store_true", help="only list them")
    arguments = parser.parse_args()
    wanted = [one for one in DEFECTS if not arguments.names or any(name in one.name for name in arguments.names)]
    if arguments.list:
        print("\n".join(f"{defect.name:62} {defect.file}" for defect in wanted))
        return
    try:
        sys.exit(1 if prove(wanted) else 0)
    except Unproven as reason:
        sys.exit(f"nothing is proven: {reason}")


if __name__ == "__main__":
    main()
