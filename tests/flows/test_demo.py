"""The demonstration's figures against an independent reader of the same file: sqlite3, which knows nothing of ours."""

import csv
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.kafka_brokers import KafkaMissingError, check_tools, leave_out

DATA = Path(__file__).resolve().parents[2] / "deploy" / "demo" / "data"
QUARTER = "close_date >= '2017-10-01' AND close_date < '2018-01-01'"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def file() -> Iterator[sqlite3.Connection]:
    """The demonstration's CSV files as tables of text."""
    database = sqlite3.connect(":memory:")
    for name in ("sales_pipeline", "sales_teams", "accounts", "products"):
        with (DATA / f"{name}.csv").open(encoding="utf-8", newline="") as lines:
            head, *rows = list(csv.reader(lines))
        database.execute(f"CREATE TABLE {name} ({', '.join(head)})")
        database.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(head))})", rows)
    yield database
    database.close()


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `salesgrain demo --once --json` wrote, with what it printed."""
    return play(tmp_path_factory.mktemp("demo") / "demo.json", within=280)


def play(result: Path, *options: str, within: float) -> dict[str, Any]:
    program = [sys.executable, "-c", "from deploy.command_line import main; main()"]
    command = [*program, "demo", "--once", "--json", str(result), *options]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=within, check=False, env=os.environ | {"LOG_LEVEL": "WARNING"}
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-2000:]
    return json.loads(result.read_text(encoding="utf-8")) | {"screen": done.stdout}


def number(file: sqlite3.Connection, sql: str) -> int:
    return int(file.execute(sql).fetchone()[0] or 0)


def test_every_row_is_in_and_what_has_no_date_is_dated_nowhere(file: sqlite3.Connection, shown: dict[str, Any]) -> None:
    rows = number(file, "SELECT count(*) FROM sales_pipeline")
    undated = number(file, "SELECT count(*) FROM sales_pipeline WHERE engage_date = ''")
    assert shown["figures"]["import"] == {"rows": rows, "created": rows, "rejected": 0, "undated": undated}
    assert (rows, undated) == (8800, 500)
    assert shown["figures"]["customers"] == number(file, "SELECT count(*) FROM accounts")


def test_the_quarter_is_the_file_s(file: sqlite3.Connection, shown: dict[str, Any]) -> None:
    won = number(file, f"SELECT count(*) FROM sales_pipeline WHERE deal_stage = 'Won' AND {QUARTER}")
    lost = number(file, f"SELECT count(*) FROM sales_pipeline WHERE deal_stage = 'Lost' AND {QUARTER}")
    amount = number(file, f"SELECT sum(close_value) FROM sales_pipeline WHERE deal_stage = 'Won' AND {QUARTER}")
    figures = shown["figures"]
    assert figures["quarter"]["won_count"] == str(won)
    assert figures["quarter"]["lost_count"] == str(lost)
    assert figures["quarter"]["won_amount"] == f"{amount}.00"
    assert (figures["win_rate"]["numerator"], figures["win_rate"]["denominator"]) == (str(won), str(won + lost))
    assert (won, won + lost, amount) == (1196, 1985, 2802496)
    assert Decimal(figures["win_rate"]["value"]) == round(Decimal(won) / Decimal(won + lost), 6)


def test_the_goal_is_the_quarter_before_and_ten_percent(file: sqlite3.Connection, shown: dict[str, Any]) -> None:
    before = number(
        file,
        "SELECT sum(close_value) FROM sales_pipeline WHERE deal_stage = 'Won' "
        "AND close_date >= '2017-07-01' AND close_date < '2017-10-01'",
    )
    goal = shown["figures"]["goal"]
    assert Decimal(goal["target_value"]) == Decimal(before) * Decimal("1.10") == Decimal("3280480.50")
    assert Decimal(shown["figures"]["quota_sum"]) == Decimal("3280480.50")
    assert Decimal(goal["attainment"]) == round(Decimal(2802496) / Decimal("3280480.50"), 6)


def test_every_agent_and_manager_has_what_the_file_says(file: sqlite3.Connection, shown: dict[str, Any]) -> None:
    by_agent = dict(
        file.execute(
            "SELECT t.sales_agent, coalesce(sum(p.close_value), 0) FROM sales_teams t LEFT JOIN sales_pipeline p "
            f"ON p.sales_agent = t.sales_agent AND p.deal_stage = 'Won' AND {QUARTER} GROUP BY 1"
        )
    )
    by_manager = dict(
        file.execute(
            "SELECT t.manager, sum(p.close_value) FROM sales_teams t JOIN sales_pipeline p USING (sales_agent) "
            f"WHERE p.deal_stage = 'Won' AND {QUARTER} GROUP BY 1"
        )
    )
    figures = shown["figures"]
    assert {item["agent"]: Decimal(item["result"]) for item in figures["agents"]} == {
        agent: Decimal(won) for agent, won in by_agent.items()
    }
    assert {item["manager"]: Decimal(item["result"]) for item in figures["managers"]} == {
        manager: Decimal(won) for manager, won in by_manager.items()
    }
    assert len(by_agent) == 35
    for group in ("agents", "managers"):
        assert sum(Decimal(item["quota"]) for item in figures[group]) == Decimal("3280480.50")


def test_the_live_scene(shown: dict[str, Any]) -> None:
    live = shown["figures"]["live"]
    assert len(live["unmet"]) >= 4
    assert Decimal(live["won_amount"][1]) - Decimal(live["won_amount"][0]) == Decimal("88000.00")
    assert live["attainment"][1] == "1.000000"
    assert live["state"] == "reached"
    assert live["alerts"] == ["goal reached", "won amount reached"]
    assert shown["figures"]["board"]["prospecting"] == 200
    assert shown["measured"]["moves"] == 200
    assert shown["measured"]["verify"].startswith("verify: ")
    assert shown["measured"]["verify"].endswith(" cells equal")


@pytest.mark.kafka
@pytest.mark.timeout(900)
def test_the_distributed_mode_shows_the_same_figures(shown: dict[str, Any], tmp_path: Path) -> None:
    try:
        check_tools()
    except KafkaMissingError as missing:
        leave_out(missing)
    distributed = play(tmp_path / "demo.json", "--distributed", within=850)
    assert json.dumps(distributed["figures"], sort_keys=True) == json.dumps(shown["figures"], sort_keys=True)
    assert distributed["measured"]["verify"].endswith(" cells equal")
    assert distributed["measured"]["moves"] == shown["measured"]["moves"] == 200


def test_the_first_screen_is_short(shown: dict[str, Any]) -> None:
    assert len(shown["screen"].splitlines()) < 40
