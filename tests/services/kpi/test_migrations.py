"""The schema: what the code says is what the revisions make, and back again."""

from collections.abc import Callable

from alembic import command

from shared.db.engine import Database
from shared.db.migrations import configuration, downgrade, upgrade


async def test_revisions_make_exactly_the_tables_of_the_code(service_database: Callable[[str], str]) -> None:
    import asyncio

    await asyncio.to_thread(command.check, configuration(service_database("kpi"), "kpi"))


async def test_up_down_up(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    await upgrade(url, "kpi")
    await downgrade(url, "kpi")
    await upgrade(url, "kpi")
    database = Database(url, "migrations-test")
    async with database.transaction() as tx:
        assert (await tx.exec_driver_sql("SELECT state FROM generation")).scalars().all() == ["active"]
    await database.close()
