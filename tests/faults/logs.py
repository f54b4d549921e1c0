"""The logs that the stateful test runs over; another Bus is one line in LOGS."""

from collections.abc import Awaitable, Callable

from sqlalchemy import text

from shared.bus.postgres import PostgresBus
from shared.bus.protocol import Bus
from shared.db.engine import Database

FreshBus = Callable[[], Awaitable[Bus]]


class PostgresLog:
    """One log in PostgreSQL, emptied for every new course of events."""

    def __init__(self, empty_database: Callable[[], str]) -> None:
        self._url = empty_database()

    async def fresh(self) -> Bus:
        """Return a bus over an empty log with an id of its own; its user closes it."""
        bus = PostgresBus(Database(self._url, "bus"))
        await bus.prepare()
        async with bus._database.transaction() as tx:
            await tx.execute(text("TRUNCATE bus_log, bus_partition, bus_identity"))
        await bus.prepare()
        return bus


LOGS = {"postgres": PostgresLog}
