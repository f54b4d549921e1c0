"""One running system for all flows: its people, and who may call it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.embedded_system import System
from tests.flows.company import FREE, found_company
from tests.postgres_cluster import temporary_directory
from tests.system_caller import Caller


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def system() -> AsyncIterator[System]:
    """The embedded mode, running, with two teams and a process that has no gates."""
    with temporary_directory() as directory:
        system = System(directory)
        try:
            await system.start()
            code, token = await system.command("token", "--role", "admin")
            assert code == 0, token
            async with Caller(system.url, token.strip()) as caller:
                await caller.post("/pipeline/v1/processes", FREE)
                await found_company(system, caller)
            yield system
            assert system.errors() == []
        finally:
            system.end()


@pytest.fixture
async def admin(system: System) -> AsyncIterator[Caller]:
    async with system.caller() as caller:
        yield caller
