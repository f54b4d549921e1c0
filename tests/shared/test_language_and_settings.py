"""Small contracts: language negotiation, settings from files, causes."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.language import negotiate, pick
from shared.settings import Settings, environment_with_files
from shared.tracing import Cause, bound_cause, caused_by, current_cause, new_cause, new_traceparent


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "en"), ("", "en"), ("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("en-US,en;q=0.9,zh;q=0.8", "en"), ("fr,zh;q=0.1", "zh"),
        ("ZH-hans", "zh"), ("en;q=0.1,zh;q=0.2", "zh"), ("zh;q=0,en", "en"), ("zh;q=x,en;q=0.1", "en"), ("*", "en"),
    ],
)  # fmt: skip
def test_negotiation(header: str | None, language: str) -> None:
    assert negotiate(header) == language


def test_pick_falls_back_to_the_other_language() -> None:
    assert pick({"zh": "报价"}, "en") == "报价"
    assert pick({"zh": "报价", "en": "Quote"}, "en") == "Quote"


def test_secrets_come_from_files_and_the_variable_wins(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("from-file\n")
    names = ["SERVICE_TOKEN"]
    assert environment_with_files({"SERVICE_TOKEN_FILE": str(secret)}, names) == {"SERVICE_TOKEN": "from-file"}
    both = {"SERVICE_TOKEN_FILE": str(secret), "SERVICE_TOKEN": "direct", "OTHER_FILE": "nowhere"}
    assert environment_with_files(both, names) == {"SERVICE_TOKEN": "direct"}
    with pytest.raises(FileNotFoundError):
        environment_with_files({"SERVICE_TOKEN_FILE": str(tmp_path / "missing")}, names)


def test_settings_read_the_environment_and_overrides_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIME_ZONE", "Europe/Berlin")
    monkeypatch.setenv("PORT", "9000")
    settings = Settings.from_environment(port=9100)
    assert (str(settings.zone), settings.port) == ("Europe/Berlin", 9100)


@pytest.mark.parametrize(
    "told", ["http://a.example, http://b.example:5173", '["http://a.example", "http://b.example:5173"]']
)
def test_origins_are_a_list(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", told)
    assert Settings.from_environment().cors_origins == ["http://a.example", "http://b.example:5173"]


def test_bad_settings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIME_ZONE", "Nowhere/Land")
    monkeypatch.setenv("PORT", "x")
    with pytest.raises(ValidationError) as caught:
        Settings.from_environment()
    assert {error["loc"][0] for error in caught.value.errors()} == {"time_zone", "port"}


def test_causes_nest_and_end() -> None:
    outer = new_cause("request-1")
    with caused_by(outer):
        assert current_cause() is outer
        with caused_by(Cause("request-2", "event-1", outer.traceparent)):
            assert current_cause().correlation_id == "request-2"
        assert current_cause() is outer
    assert bound_cause() is None


def test_a_trace_goes_on_and_a_broken_one_begins_anew() -> None:
    first = new_traceparent()
    assert new_traceparent(first).split("-")[1] == first.split("-")[1]
    assert new_traceparent("nonsense") != new_traceparent("nonsense")


@pytest.mark.parametrize("weak", ["x" * 31, "with spaces " * 4, "密" * 40])
def test_a_weak_service_token_is_refused_without_being_told(weak: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_TOKEN", weak)
    with pytest.raises(ValidationError, match="at least 32 visible ASCII characters") as caught:
        Settings.from_environment()
    assert weak not in str(caught.value)
    monkeypatch.setenv("SERVICE_TOKEN", "x" * 32)
    assert Settings.from_environment().service_token is not None
