"""The migrations of notify: the tables are what the code says, there and back."""

import asyncio
from collections.abc import Callable

from alembic import command

from shared.db.migrations import configuration, downgrade, upgrade


async def test_the_newest_schema_is_that_of_the_code(service_database: Callable[[str], str]) -> None:
    await asyncio.to_thread(command.check, configuration(service_database("notify"), "notify"))


async def test_up_down_and_up_again(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    await upgrade(url, "notify")
    await downgrade(url, "notify")
    await upgrade(url, "notify")
    await asyncio.to_thread(command.check, configuration(url, "notify"))
