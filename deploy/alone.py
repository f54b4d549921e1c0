"""The command line where a service runs alone: its own database, its peers over HTTP, all from the environment."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from deploy.administration import verification_told
from services.kpi.settings import KpiSettings
from services.kpi.use_cases.rebuild import rebuild
from services.kpi.use_cases.verify import verify
from shared.bus.exports import HttpExport
from shared.bus.opening import open_bus
from shared.db.engine import Database
from shared.http_client import HttpClient

KPI = "kpi"


class SettingMissing(SystemExit):
    """A setting without which the work cannot be done; ends the process with the message that names it."""


@dataclass(frozen=True, slots=True)
class Alone:
    """kpi as its own process sees it."""

    settings: KpiSettings
    database: Database
    export: HttpExport


@contextlib.asynccontextmanager
async def kpi_alone() -> AsyncIterator[Alone]:
    """Open what DATABASE_URL, SERVICE_TOKEN and PIPELINE_URL name, as in kpi's own container; raises SettingMissing."""
    settings = KpiSettings.from_environment()
    if settings.database_url is None or settings.service_token is None:
        raise SettingMissing("DATABASE_URL (of kpi) and SERVICE_TOKEN must be set: run this where kpi runs")
    headers = {"authorization": f"Bearer {settings.service_token.get_secret_value()}"}
    async with contextlib.AsyncExitStack() as stack:
        database = Database(settings.database_url, KPI)
        stack.push_async_callback(database.close)
        peers: dict[str, HttpClient] = {}
        for name in ("pipeline", "kpi", "goals", "notify"):
            peers[name] = HttpClient(base_url=getattr(settings, f"{name}_url"), headers=headers)
            stack.push_async_callback(peers[name].close)
        yield Alone(settings, database, HttpExport(peers))


async def verify_kpi_alone() -> tuple[list[str], bool]:
    """Compare live cells with what pipeline's history says; return what to print, and whether all are equal."""
    async with kpi_alone() as kpi:
        result = await verify(kpi.database, kpi.export, kpi.settings)
    return verification_told(result)


async def rebuild_kpi_alone() -> str:
    """Recompute every KPI from history beside live traffic and switch to the result; return a line that says so."""
    async with kpi_alone() as kpi:
        if kpi.settings.bus_url is None:
            raise SettingMissing("BUS_URL must be set: run this where kpi runs")
        bus = await open_bus(kpi.settings.bus_url)
        try:
            result = await rebuild(kpi.database, bus, kpi.export, kpi.settings)
        finally:
            await bus.close()
    return f"rebuild: generation {result.generation} with {result.cells} cells is active"
