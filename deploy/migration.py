"""Migrates the one database of one service, which DATABASE_URL names, as a one-shot job before its processes."""

import asyncio
import time

from shared.db.errors import is_infrastructure, sqlstate
from shared.db.migrations import upgrade
from shared.logging import get_logger
from shared.settings import Settings

log = get_logger(__name__)

SERVER_WITHIN_SECONDS = 60.0
# The server answers, and says no: waiting will not help.
_REFUSED = frozenset({"28000", "28P01", "3D000", "42501"})


class MigrationRefused(Exception):  # noqa: N818 - the name of the fact
    """The database cannot be migrated; the message says why and what to set."""


async def migrate_service(name: str) -> str:
    """Bring the database of service `name` to its newest schema; return a line that says so.

    Waits up to a minute for a server that does not answer yet. Raises MigrationRefused.
    """
    url = Settings.from_environment().database_url
    if url is None:
        raise MigrationRefused(f"DATABASE_URL is not set: where the database of {name} is (postgresql+asyncpg://...)")
    deadline = time.monotonic() + SERVER_WITHIN_SECONDS
    while True:
        try:
            await upgrade(url, name)
        except Exception as error:
            if not is_infrastructure(error) or sqlstate(error) in _REFUSED or time.monotonic() > deadline:
                raise MigrationRefused(f"{name}: {getattr(error, 'orig', error)}") from error
            log.warning("waiting", what="database", reason=type(error).__name__)
            await asyncio.sleep(1)
        else:
            return f"the database of {name} is at its newest schema"
