"""What a run found, as tables."""

import math

import pytest

from bench.report import Findings, Percentiles, Row, Share, Timing, text_of


def timing(alert: float, lost: int = 0) -> Timing:
    two = Percentiles.of([10.0, 20.0, 30.0])
    return Timing("embedded", 500, 499.6, 0, lost, two, two, Percentiles.of([alert]), (50.0, 250.0, 150.0))


@pytest.mark.parametrize(
    ("found", "verdict"), [(timing(99), "reached"), (timing(151), "missed"), (timing(99, 1), "missed")]
)
def test_aims_are_met_only_when_all_are_and_nothing_is_lost(found: Timing, verdict: str) -> None:
    assert found.verdict == f"≤ 50 / 250 / 150 {verdict}"


def test_percentiles_are_nearest_ranks() -> None:
    found = Percentiles.of([float(number) for number in range(1, 101)])
    assert (found.p50, found.p99, found.samples) == (50.0, 100.0, 100)
    assert math.isnan(Percentiles.of([]).p50)


def test_all_that_was_found_and_left_out_is_told() -> None:
    share = Share(
        "distributed, 2 of each",
        200.0,
        150.0,
        40.0,
        90.0,
        {"kpi": 800.0, "Kafka": 90.0},
        0.1,
        {"kpi": 120.0, "Kafka": 300.0},
    )
    found = Findings([Row("relay", 50.0, "raw loop", 100.0, 0.5)], [timing(99)], [share], ["Kafka: no java"])
    text = text_of(found)
    assert "| relay | 50 |  |  | raw loop | 100 | 0.50 | ≥ 0.50 reached |" in text
    assert "| embedded | 500 | 500 | 20 / 30 | 20 / 30 | 99 / 99 | ≤ 50 / 250 / 150 reached |" in text
    assert "| kpi: CPU us a move, peak MiB | 800, 120 |" in text
    assert "**LEFT OUT: Kafka: no java**" in text
