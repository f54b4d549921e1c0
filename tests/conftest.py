"""Fixtures for every test: a real PostgreSQL per run (per xdist worker) and a fresh database per test; a real Kafka."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog
from xdist.scheduler import LoadScopeScheduling

from deploy.kafka.cluster import LocalKafka, running_kafka
from tests.distribution import OneFleetAtATime, longest_first
from tests.kafka_brokers import (
    KafkaMissingError,
    KafkaOfTheRun,
    check_tools,
    leave_out,
    servers_of_the_run,
    tell_what_was_left_out,
)
from tests.postgres_cluster import PostgresCluster, temporary_directory, throw_away_cluster


def pytest_configure(config: pytest.Config) -> None:
    """Plain tracebacks: structlog's own default draws every local variable, which takes seconds."""
    if not hasattr(config, "workerinput"):
        config.add_cleanup(KafkaOfTheRun().end)
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.processors.add_log_level, plain])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = longest_first(items)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    return OneFleetAtATime(config, log)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """The run's PostgreSQL: fast and not durable; it ends with the run, killed or not."""
    with throw_away_cluster() as cluster:
        yield cluster


@pytest.fixture
def databases(postgres: PostgresCluster) -> Iterator[Callable[[str], str]]:
    """Make copies of a template by its name and return their URLs; they are dropped at the end of the test."""
    made: list[str] = []

    def make(template: str) -> str:
        made.append(postgres.create_database(template))
        return postgres.url(made[-1])

    yield make
    for name in made:
        postgres.drop_database(name)


@pytest.fixture
def empty_database(databases: Callable[[str], str]) -> Callable[[], str]:
    """`empty_database()` makes an empty database and returns its URL (SQLAlchemy, asyncpg)."""
    return lambda: databases("template1")


@pytest.fixture
def service_database(postgres: PostgresCluster, databases: Callable[[str], str]) -> Callable[[str], str]:
    """`service_database("kpi")` makes a database at kpi's newest schema and returns its URL."""
    return lambda service: databases(postgres.template_of(service))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Kafka suites that did not run are told in the last lines, behind all others."""
    yield
    tell_what_was_left_out(terminalreporter)


@pytest.fixture(scope="session")
def kafka_servers() -> list[str]:
    """The run's Kafka, which other tests use at the same time: own topics by an own prefix, and nobody ends it."""
    try:
        return servers_of_the_run()
    except KafkaMissingError as missing:
        leave_out(missing)
        raise


@pytest.fixture
def start_kafka() -> Iterator[Callable[[int], LocalKafka]]:
    """`start_kafka(3)` starts brokers of this test's own, which it may freeze and kill."""
    with ExitStack() as held:

        def start(count: int) -> LocalKafka:
            try:
                check_tools()
            except KafkaMissingError as missing:
                leave_out(missing)
            return held.enter_context(running_kafka(count))

        yield start


@pytest.fixture
def data_directory() -> Iterator[Path]:
    """An empty private directory with a short path; removed at the end, also when the run is killed."""
    with temporary_directory() as directory:
        yield directory
