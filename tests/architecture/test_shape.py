"""Rules of the house that no linter has: sizes, names, registries, one shape for every service."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = sorted(
    path
    for folder in ("shared", "services", "deploy", "bench")
    for path in (ROOT / folder).rglob("*.py")
    if "migrations" not in path.parts
)
SERVICES = ("pipeline", "kpi", "goals", "notify")
LARGEST_FILE = 320
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "core", "manager", "misc"}


def test_no_file_grows_past_comfort() -> None:
    assert not {
        str(path.relative_to(ROOT)): lines
        for path in CODE
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LARGEST_FILE
    }


def test_every_name_says_something() -> None:
    assert not [path for path in CODE if path.stem in EMPTY_NAMES]


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_the_same_skeleton(service: str) -> None:
    folder = ROOT / "services" / service
    expected = {
        "README.md", "__main__.py", "service.py", "settings.py", "api", "consumers.py", "jobs.py",
        "use_cases", "domain", "store", "migrations",
    }  # fmt: skip
    assert expected <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("folder", "registry"),
    [("services/pipeline/crm", "services.pipeline.crm"), ("services/notify/channels", "services.notify.channels")],
)
def test_every_adapter_file_is_in_its_registry(folder: str, registry: str) -> None:
    adapters = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__", "adapter", "channel"}
    assert adapters
    source = ast.parse((ROOT / folder / "__init__.py").read_text(encoding="utf-8"))
    imported = {
        alias.name if node.module == registry else str(node.module).rsplit(".", 1)[-1]
        for node in ast.walk(source)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert adapters <= imported
    importlib.import_module(registry)


def test_no_function_imports_inside_itself() -> None:
    # A command line imports what its command needs: `salesgrain token` must not wait for four services.
    for path in set(CODE) - {ROOT / "deploy" / "command_line.py"}:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inside = [
            node.lineno
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
            for node in ast.walk(function)
            if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        assert not inside, f"{path}: {inside}"


def test_no_committed_file_names_a_machine_or_a_registry() -> None:
    hosts = (
        "files." + "pythonhosted",
        "pypi" + ".org",
        "registry." + "npmjs",
        "repo1." + "maven",
        "deb." + "debian.org",
    )
    for path in [*CODE, *(ROOT / "requirements").iterdir(), ROOT / "Makefile", *(ROOT / "docs").rglob("*.md")]:
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not [host for host in hosts if host in text], path
