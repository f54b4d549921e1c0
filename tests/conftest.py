"""Fixtures for every test: a real PostgreSQL per run (per xdist worker) and a fresh database per test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from tests.postgres_cluster import PostgresCluster, temporary_directory, throw_away_cluster


def pytest_configure() -> None:
    """Plain tracebacks: structlog's own default draws every local variable, which takes seconds."""
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.processors.add_log_level, plain])


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


@pytest.fixture
def data_directory() -> Iterator[Path]:
    """An empty private directory with a short path; removed at the end, also when the run is killed."""
    with temporary_directory() as directory:
        yield directory
