"""Opens the log that a URL names."""

from shared.bus.postgres import PostgresBus
from shared.bus.protocol import Bus
from shared.db.engine import Database


async def open_bus(url: str) -> Bus:
    """Return the log at `url` (`postgresql+asyncpg://...`), ready for use; raises ValueError for another kind."""
    if not url.startswith("postgresql"):
        message = f"{url.split(':', 1)[0]}: is not a log that this version knows"
        raise ValueError(message)
    bus = PostgresBus(Database(url, "bus"))
    try:
        await bus.prepare()
    except BaseException:
        await bus.close()
        raise
    return bus
