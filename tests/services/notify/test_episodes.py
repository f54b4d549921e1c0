"""Hysteresis, `for` and sample sizes: one wobble is one alert."""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notify.domain.conditions import KpiCondition
from services.notify.domain.episode import Episode, Observation, Transition, advance
from tests.services.notify.building import NOON, condition


def run(rule: KpiCondition, values: list[str | None], step: timedelta = timedelta(minutes=1)) -> list[str]:
    """Return the kinds of all transitions over values that come one `step` apart."""
    episode: Episode | None = None
    kinds: list[str] = []
    for place, told in enumerate(values):
        seen = Observation(None if told is None else Decimal(told), 50, NOON + place * step)
        for transition in advance(rule, episode, seen):
            kinds.append(transition.kind)
            episode = after(transition)
    return kinds


def after(transition: Transition) -> Episode | None:
    if transition.kind in ("began", "fired"):
        return Episode(transition.kind == "fired", transition.at)
    return None


@pytest.mark.parametrize(
    ("op", "threshold", "values", "kinds"),
    [
        ("lt", "0.20", ["0.30", "0.25"], []),
        ("lt", "0.20", ["0.19"], ["fired"]),
        ("lt", "0.20", ["0.20"], []),
        ("le", "0.20", ["0.20"], ["fired"]),
        ("gt", "100", ["100"], []),
        ("ge", "100", ["100"], ["fired"]),
        # back over the threshold, but within 2 % of it
        ("lt", "0.20", ["0.19", "0.20", "0.203", "0.199"], ["fired"]),
        ("lt", "0.20", ["0.19", "0.204"], ["fired", "resolved"]),
        ("le", "0.20", ["0.20", "0.204"], ["fired"]),
        ("le", "0.20", ["0.20", "0.2041"], ["fired", "resolved"]),
        ("gt", "100", ["101", "99", "98.1"], ["fired"]),
        ("gt", "100", ["101", "98"], ["fired", "resolved"]),
        ("ge", "100", ["100", "98"], ["fired"]),
        ("ge", "100", ["100", "97.99"], ["fired", "resolved"]),
        ("lt", "-100", ["-101", "-99", "-98"], ["fired", "resolved"]),
        ("gt", "0", ["1", "0", "1", "0"], ["fired", "resolved", "fired", "resolved"]),
    ],
)
def test_it_fires_at_the_threshold_and_resolves_beyond_the_band(
    op: str, threshold: str, values: list[str | None], kinds: list[str]
) -> None:
    assert run(condition(op=op, threshold=threshold), values) == kinds


def test_a_hysteresis_of_its_own_is_in_the_unit_of_the_value() -> None:
    wide = condition(op="lt", threshold="100", hysteresis="50")
    assert run(wide, ["99", "149", "99", "150", "99"]) == ["fired", "resolved", "fired"]
    none = condition(op="lt", threshold="100", hysteresis="0")
    assert run(none, ["99", "100", "99"]) == ["fired", "resolved", "fired"]


@given(st.lists(st.decimals("0.15", "0.2039", places=4), min_size=1, max_size=60))
def test_any_wobble_within_the_band_is_one_alert(values: list[Decimal]) -> None:
    assert run(condition(), ["0.10", *map(str, values)]) == ["fired"]


@given(st.lists(st.decimals("0", "1", places=4), max_size=80), st.sampled_from(["lt", "le", "gt", "ge"]))
def test_firing_and_resolving_always_take_turns(values: list[Decimal], op: str) -> None:
    kinds = run(condition(op=op), list(map(str, values)))
    assert kinds == ["fired", "resolved"] * (len(kinds) // 2) + ["fired"] * (len(kinds) % 2)


def test_a_null_value_and_a_small_sample_say_nothing() -> None:
    rule = condition(min_sample_size=10)
    firing = Episode(True, NOON)
    for seen in (Observation(None, 50, NOON), Observation(Decimal("0.9"), 9, NOON)):
        assert advance(rule, None, seen) == ()
        assert advance(rule, firing, seen) == ()
    assert advance(rule, None, Observation(Decimal("0.1"), 9, NOON)) == ()
    assert advance(rule, None, Observation(Decimal("0.1"), 10, NOON)) == (Transition("fired", NOON),)


def test_what_must_hold_waits_and_lapses_when_it_does_not() -> None:
    rule = condition(hold="PT10M")
    assert run(rule, ["0.19"]) == ["began"]
    assert run(rule, ["0.19", "0.201", "0.19"]) == ["began"]
    assert run(rule, ["0.19", "0.30", "0.19"]) == ["began", "lapsed", "began"]


def test_what_held_until_a_late_value_fires_as_of_when_it_was_due() -> None:
    rule = condition(hold="PT10M")
    pending = Episode(False, NOON + timedelta(minutes=10))
    late = Observation(Decimal("0.5"), 50, NOON + timedelta(minutes=30))
    assert advance(rule, pending, late) == (
        Transition("fired", NOON + timedelta(minutes=10)),
        Transition("resolved", NOON + timedelta(minutes=30)),
    )
