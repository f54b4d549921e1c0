"""A fresh toy world per test."""

from collections.abc import AsyncIterator, Callable

import pytest

from tests.faults.toy import World, toy_world


@pytest.fixture
async def world(empty_database: Callable[[], str]) -> AsyncIterator[World]:
    async with toy_world(empty_database) as made:
        yield made
