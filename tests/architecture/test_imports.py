"""Importing is free: no socket, no file opened for writing, no setting read, in any module of ours."""

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("shared", "services", "deploy", "bench")

PROBE = """
import importlib, socket, sys
opened = []
def audit(event, args):
    if event in ("socket.connect", "socket.bind"):
        opened.append((event, str(args[1:])))
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        opened.append((event, str(args)))
    if event in ("subprocess.Popen", "os.mkdir"):
        opened.append((event, str(args)))
sys.addaudithook(audit)
sys.dont_write_bytecode = True
for name in sys.argv[1:]:
    before = len(opened)
    importlib.import_module(name)
    assert opened[before:] == [], (name, opened)
"""


def modules() -> list[str]:
    found: list[str] = []
    for package in PACKAGES:
        found.append(package)
        found.extend(
            module.name
            for module in pkgutil.walk_packages([str(ROOT / package)], prefix=f"{package}.")
            if ".migrations" not in module.name and not module.name.endswith("__main__")
        )
    return found


def test_there_are_modules_to_import() -> None:
    assert "shared.events.codec" in modules()
    assert len(modules()) > 50


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_opens_nothing_with_an_empty_environment(package: str) -> None:
    names = [name for name in modules() if name.split(".")[0] == package]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *names], cwd=ROOT, env={}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
