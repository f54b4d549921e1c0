"""Every test of this folder that takes a log, a bus or the toy world runs on every bus."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from shared.bus.protocol import Bus
from shared.db.engine import Database
from tests.contracts.logs import BUSES, Log, Open
from tests.faults.toy import World, kpi_metadata, pipeline_metadata


@pytest.fixture(params=["postgres", pytest.param("kafka", marks=pytest.mark.kafka)])
def log(request: pytest.FixtureRequest) -> Log:
    return BUSES[request.param](request)


@pytest.fixture
async def open_bus(log: Log) -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        async def open_one() -> Bus:
            bus = await log.open()
            stack.push_async_callback(bus.close)
            return bus

        yield open_one


@pytest.fixture
async def bus(open_bus: Open) -> Bus:
    return await open_bus()


@pytest.fixture
async def world(bus: Bus, empty_database: Callable[[], str]) -> AsyncIterator[World]:
    """The toy services on this bus."""
    made = World(Database(empty_database(), "pipeline"), Database(empty_database(), "kpi"), bus)
    for database, metadata in ((made.pipeline, pipeline_metadata), (made.kpi, kpi_metadata)):
        async with database.transaction() as tx:
            await tx.run_sync(metadata.create_all)
    yield made
    await made.close()
