"""Which log a URL names."""

from collections.abc import Callable

import pytest

from shared.bus.opening import UnknownLog, open_bus, read_kafka_url
from shared.bus.postgres import PostgresBus
from shared.db.errors import is_infrastructure


@pytest.mark.parametrize(
    ("url", "servers", "prefix"),
    [
        ("kafka://one:9092", ["one:9092"], ""),
        ("kafka://one:9092,two:9093", ["one:9092", "two:9093"], ""),
        ("kafka://one:9092?prefix=staging.", ["one:9092"], "staging."),
    ],
)
def test_a_kafka_url_names_brokers_and_a_prefix(url: str, servers: list[str], prefix: str) -> None:
    assert read_kafka_url(url) == (servers, prefix)


@pytest.mark.parametrize("url", ["", "one:9092", "kafka://", "http://one:9092", "sqlite:///x"])
async def test_what_names_no_log_is_refused(url: str) -> None:
    with pytest.raises(UnknownLog):
        await open_bus(url)


async def test_a_log_that_cannot_be_reached_is_a_fault_of_the_surroundings() -> None:
    with pytest.raises(ConnectionError) as caught:
        await open_bus("kafka://127.0.0.1:9")
    assert is_infrastructure(caught.value)


async def test_a_log_in_postgresql_is_opened_ready_for_use(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    first, second = await open_bus(url), await open_bus(url)
    assert isinstance(first, PostgresBus)
    assert first.id == second.id
    await first.close()
    await second.close()
