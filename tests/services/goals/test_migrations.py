"""The schema of goals: what the migrations make is what the tables say, and they go down and up again."""

import asyncio
from collections.abc import Callable

from alembic import command

from shared.db.migrations import configuration, downgrade, upgrade


async def test_migrations_make_the_tables(empty_database: Callable[[], str]):
    url = empty_database()
    await upgrade(url, "goals")
    await downgrade(url, "goals")
    await upgrade(url, "goals")
    await asyncio.to_thread(command.check, configuration(url, "goals"))
