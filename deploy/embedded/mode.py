"""The embedded mode: everything in one process group, for a laptop, a test or a small team."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import MappingProxyType

from sqlalchemy.engine import make_url

from deploy.embedded.assembly import DATABASES, Assembly, UrlOf, assembled, migrate_all, urls_beside
from deploy.embedded.issuer import derived_secret, issuer_of
from deploy.embedded.postgres import EmbeddedPostgres, running_url
from deploy.running import running_on
from shared.db.engine import Database
from shared.runtime.run import Work, http_server, run_services
from shared.settings import Settings


@contextlib.asynccontextmanager
async def databases(
    data_dir: Path, run_as: str | None, settings: Settings, *, beside: bool = False
) -> AsyncIterator[UrlOf]:
    """Within the block: where each database is. A DSN in the environment wins; otherwise the embedded server runs.

    With `beside`, a server that another process runs on this data directory is used as it is, and left running.
    """
    if settings.database_url:
        await _make_databases_beside(settings.database_url)
        yield urls_beside(settings.database_url)
        return
    if beside and running_url(data_dir, "postgres"):
        yield lambda name: running_url(data_dir, name) or ""
        return
    server = EmbeddedPostgres(data_dir, run_as=run_as)
    server.start()
    supervising = asyncio.create_task(server.supervise())
    try:
        server.ensure_databases(DATABASES)
        yield server.url
    finally:
        await asyncio.to_thread(server.stop)
        await supervising


@contextlib.asynccontextmanager
async def opened(
    data_dir: Path, run_as: str | None, overrides: Mapping[str, object] = MappingProxyType({}), *, beside: bool = False
) -> AsyncIterator[Assembly]:
    """Within the block: the four services over migrated databases, not yet running (`beside`: as in `databases`)."""
    settings = Settings.from_environment(**overrides)
    issuer = issuer_of(data_dir, settings)
    async with databases(data_dir, run_as, settings, beside=beside) as url_of:
        await migrate_all(url_of)
        development = {"webhook_allow_private": True, "cursor_secret": derived_secret(data_dir, "cursors")}
        unsaid = {name: value for name, value in development.items() if name not in settings.model_fields_set}
        running = running_on(data_dir) if beside else None
        bus_url = settings.bus_url or (running.bus_url if running else url_of("bus"))
        async with assembled(url_of, bus_url, issuer, {**unsaid, **overrides}) as assembly:
            yield assembly


async def _make_databases_beside(server_url: str) -> None:
    """Create what is missing on the server of a given DSN; only then must its role be allowed to."""
    url_of = urls_beside(server_url)
    server = Database(server_url, "setup", pool_size=1)
    connection = await server.connect_dedicated()
    try:
        known = {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}
        for name in (make_url(url_of(name)).database or "" for name in DATABASES):
            if name not in known:
                quoted = name.replace('"', '""')
                await connection.execute(f'CREATE DATABASE "{quoted}"')
    finally:
        await connection.close()
        await server.close()


async def serve(data_dir: Path, run_as: str | None, on_ready: Work | None = None, **overrides: object) -> None:
    """Run the embedded mode until SIGTERM or SIGINT."""
    settings = Settings.from_environment(**overrides)
    async with opened(data_dir, run_as, overrides) as assembly:
        await run_services(
            list(assembly.services.values()),
            assembly.bus,
            assembly.peers,
            http_server(assembly.gateway, settings.host, settings.port),
            on_ready=on_ready,
        )
