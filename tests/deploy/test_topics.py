"""`salesgrain topics` against a real broker: makes, checks, mends what it may, and says what it may not."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner, Result

from deploy.command_line import app
from deploy.running import Running
from shared.bus.kafka import opened_admin
from shared.bus.kafka_topics import settings_of
from shared.bus.opening import open_bus
from shared.events.catalogue import TOPICS
from shared.events.pipeline import DEALS, PROCESSES

# Typer's runner runs commands here, in a thread with no event loop of its own.
Run = Callable[..., Result]


@pytest.fixture
def prefix() -> str:
    return f"{uuid4().hex[:12]}."


@pytest.fixture
def run(kafka_servers: list[str], prefix: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("BUS_URL", f"kafka://{','.join(kafka_servers)}?prefix={prefix}")
    return lambda *options: CliRunner().invoke(app, ["topics", *options])


def create(servers: list[str], name: str, partitions: int, settings: dict[str, str]) -> None:
    async def work() -> None:
        async with opened_admin(servers) as admin:
            await admin.create(name, partitions, 1, settings)

    asyncio.run(work())


@pytest.mark.kafka
def test_what_is_missing_is_made_as_the_catalogue_says(kafka_servers: list[str], run: Run, prefix: str) -> None:
    checked = run("--check")
    assert checked.exit_code == 1
    assert checked.stderr.count("is missing") == len(TOPICS)
    made = run()
    assert (made.exit_code, made.stdout.count(" made ")) == (0, len(TOPICS))
    again = run("--check")
    assert (again.exit_code, again.stdout.count(" fine ")) == (0, len(TOPICS))

    async def found() -> None:
        async with opened_admin(kafka_servers) as admin:
            topics = await admin.topics([prefix + name for name in TOPICS])
        for topic in TOPICS.values():
            there = topics[prefix + topic.name]
            assert (there.partitions, there.replication) == (topic.partitions, 1)
            assert there.settings.items() >= settings_of(topic, 1).items()

    asyncio.run(found())


@pytest.mark.kafka
def test_partitions_are_added_and_never_taken_away(kafka_servers: list[str], run: Run, prefix: str) -> None:
    create(kafka_servers, prefix + DEALS, 2, settings_of(TOPICS[DEALS], 1))
    create(kafka_servers, prefix + PROCESSES, 3, settings_of(TOPICS[PROCESSES], 1))
    checked = run("--check")
    assert f"{prefix + DEALS:32} wrong    2 partitions, the catalogue says 4" in checked.stderr
    result = run()
    assert result.exit_code == 1
    assert f"{prefix + DEALS:32} made     had 2 partitions, the catalogue says 4: added" in result.stderr
    assert (
        f"{prefix + PROCESSES:32} wrong    3 partitions, the catalogue says 1: a topic cannot shrink" in result.stderr
    )
    again = run()
    assert f"{prefix + DEALS:32} fine     4 partitions" in again.stderr
    assert again.exit_code == 1


@pytest.mark.kafka
def test_settings_that_somebody_changed_are_told_and_left(kafka_servers: list[str], run: Run, prefix: str) -> None:
    create(kafka_servers, prefix + DEALS, 4, {"cleanup.policy": "delete", "retention.ms": "60000"})
    for _ in range(2):
        result = run("--replication", "1")
        assert result.exit_code == 0
        assert f"{prefix + DEALS:32} changed  retention.ms is 60000, by the catalogue it is 1209600000" in result.stdout
    checked = run("--check", "--replication", "3")
    assert checked.exit_code == 1
    assert "replication 1, wanted 3: reassign its replicas" in checked.stderr


@pytest.mark.kafka
def test_a_topic_that_is_compacted_is_refused(kafka_servers: list[str], run: Run, prefix: str) -> None:
    create(kafka_servers, prefix + DEALS, 4, settings_of(TOPICS[DEALS], 1) | {"cleanup.policy": "compact"})
    result = run()
    assert result.exit_code == 1
    assert f"{prefix + DEALS:32} wrong    cleanup.policy is compact" in result.stderr


@pytest.mark.kafka
def test_more_copies_than_brokers_are_refused_with_what_kafka_says(run: Run) -> None:
    result = run("--replication", "3")
    assert result.exit_code == 1
    assert "InvalidReplicationFactorError" in result.stderr


@pytest.mark.kafka
def test_a_bus_without_its_topics_does_not_open(kafka_servers: list[str], run: Run, prefix: str) -> None:
    url = f"kafka://{','.join(kafka_servers)}?prefix={prefix}"

    async def open_and_close() -> str:
        bus = await open_bus(url)
        await bus.close()
        return bus.id

    with pytest.raises(ConnectionError, match="is not there: run `salesgrain topics`"):
        asyncio.run(open_and_close())
    run()
    assert asyncio.run(open_and_close()) == asyncio.run(open_and_close())


def test_a_log_in_postgresql_is_prepared(empty_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUS_URL", empty_database())
    first, second = (CliRunner().invoke(app, ["topics"]) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stdout == second.stdout
    assert f"has its {len(TOPICS)} topics" in first.stdout


def test_the_log_of_a_data_directory_is_prepared(made_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BUS_URL", raising=False)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    made, checked = (
        CliRunner().invoke(app, ["topics", "--data-dir", str(made_directory), *options])
        for options in ([], ["--check"])
    )
    assert (made.exit_code, checked.exit_code) == (0, 0)
    assert f"has its {len(TOPICS)} topics" in made.stdout
    assert "nothing to check" in checked.stdout


def test_the_log_that_runs_on_a_data_directory_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BUS_URL", raising=False)
    Running(os.getpid(), "kafka://127.0.0.1:9", "http://127.0.0.1:8", {}).write(tmp_path)
    result = CliRunner().invoke(app, ["topics", "--data-dir", str(tmp_path)])
    assert result.exit_code == 1
    assert "KafkaConnectionError" in result.stderr


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("kafka://127.0.0.1:9", "KafkaConnectionError"),
        ("amqp://somewhere", "amqp: names no log"),
        ("kafka://", "kafka: names no log"),
    ],
)
def test_what_cannot_be_reached_is_told_in_one_line(url: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUS_URL", url)
    result = CliRunner().invoke(app, ["topics"])
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("salesgrain:")]
    assert said in line


def test_without_a_log_they_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BUS_URL", raising=False)
    result = CliRunner().invoke(app, ["topics"])
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == [*TOPICS]


def test_every_topic_says_how_long_it_keeps_what_it_carries() -> None:
    assert {topic.retention.days for topic in TOPICS.values() if topic.dead_letters_of is None} == {14}
    assert {topic.retention.days for topic in TOPICS.values() if topic.dead_letters_of is not None} == {30}
