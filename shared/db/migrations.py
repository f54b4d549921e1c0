"""Alembic per service, run in process: `upgrade(url, "kpi")` brings a database to the newest schema."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config

SERVICES_FOLDER = Path(__file__).resolve().parents[2] / "services"


def configuration(url: str, service: str) -> Config:
    """Return the Alembic configuration of a service for the database at `url`."""
    config = Config()
    config.set_main_option("script_location", str(SERVICES_FOLDER / service / "migrations"))
    # Through attributes, as main options would expand the percent signs of an escaped URL.
    config.attributes["url"] = url
    return config


async def upgrade(url: str, service: str, revision: str = "head") -> None:
    """Bring the database at `url` to `revision`; waits at most 2 s for a lock, and tries again for a minute."""
    await asyncio.to_thread(command.upgrade, configuration(url, service), revision)


async def downgrade(url: str, service: str, revision: str = "base") -> None:
    """Take the database at `url` back to `revision`."""
    await asyncio.to_thread(command.downgrade, configuration(url, service), revision)
