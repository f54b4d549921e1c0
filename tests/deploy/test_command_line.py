"""The command line says what a user can put right in one line each."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from deploy.command_line import app


def test_bad_settings_are_told_without_a_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIME_ZONE", "Nowhere/Land")
    monkeypatch.setenv("CORS_ORIGINS", "[broken")
    result = CliRunner().invoke(app, ["up", "--data-dir", str(tmp_path / "data")])
    assert (result.exit_code, result.stdout) == (1, "")
    assert [line.split(": ")[:2] for line in result.stderr.splitlines()] == [
        ["salesgrain", "TIME_ZONE"],
        ["salesgrain", "CORS_ORIGINS"],
    ]
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", ["show", "replay"])
def test_a_dead_letter_that_is_not_there_is_a_failure(
    command: str, empty_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database())
    letter = str(uuid4())
    result = CliRunner().invoke(app, ["dead-letters", command, letter, "--data-dir", str(tmp_path)])
    assert (result.exit_code, result.stdout) == (1, f"there is no dead letter {letter}\n")
