"""Builds the four services over one PostgreSQL server and a log, as each other's in-process peers."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy.engine import URL, make_url

from deploy.embedded.gateway import Gateway
from services.goals import service as goals
from services.goals.settings import GoalsSettings
from services.kpi import service as kpi
from services.kpi.settings import KpiSettings
from services.notify import service as notify
from services.notify.settings import NotifySettings
from services.pipeline import service as pipeline
from services.pipeline.settings import PipelineSettings
from shared.auth.development_issuer import DevelopmentIssuer
from shared.bus.opening import open_bus
from shared.bus.protocol import Bus
from shared.clock import utc_now
from shared.db.engine import Database
from shared.db.migrations import upgrade
from shared.http_client import HttpClient
from shared.runtime.service import Peers, Resources, Service
from shared.settings import Settings

SERVICES = ("pipeline", "kpi", "goals", "notify")
DATABASES = (*SERVICES, "bus")

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, slots=True)
class Assembly:
    """The four services, ready to be run or to be asked in process."""

    services: Mapping[str, Service]
    gateway: Gateway
    bus: Bus
    peers: Peers


UrlOf = Callable[[str], str]


def urls_beside(server_url: str) -> UrlOf:
    """Return where each database is on the server of a given DSN: `<its database>_<name>`."""
    url: URL = make_url(server_url)
    prefix = url.database or "salesgrain"
    return lambda name: url.set(drivername="postgresql+asyncpg", database=f"{prefix}_{name}").render_as_string(
        hide_password=False
    )


async def migrate_all(url_of: UrlOf) -> None:
    """Bring the databases of all services to their newest schema; the log prepares its own."""
    for name in SERVICES:
        await upgrade(url_of(name), name)


@contextlib.asynccontextmanager
async def assembled(
    url_of: UrlOf, bus_url: str, issuer: DevelopmentIssuer, overrides: Mapping[str, object]
) -> AsyncIterator[Assembly]:
    """Build everything within the block and close it after; `overrides` win over the environment's settings."""
    async with contextlib.AsyncExitStack() as stack:
        bus = await open_bus(bus_url)
        stack.push_async_callback(bus.close)
        outside = HttpClient()
        stack.push_async_callback(outside.close)
        apps: dict[str, FastAPI] = {}
        gateway = Gateway(apps)
        told = Settings.from_environment(**overrides)
        # No token of the issuer: that would run out while the process goes on.
        service_token = told.service_token or SecretStr(secrets.token_urlsafe(32))
        overrides = {**overrides, "service_token": service_token}
        peers = _peers(gateway, service_token)

        def build(name: str, builder: Callable[[S, Resources], Service], settings: S) -> Service:
            database = Database(url_of(name), name)
            stack.push_async_callback(database.close)
            verifier = issuer.verifier(settings.auth_issuer, settings.auth_audience)
            service = builder(settings, Resources(database, peers, outside, verifier, utc_now))
            apps[name] = service.app
            return service

        services = {
            "pipeline": build("pipeline", pipeline.build, PipelineSettings.from_environment(**overrides)),
            "kpi": build("kpi", kpi.build, KpiSettings.from_environment(**overrides)),
            "goals": build("goals", goals.build, GoalsSettings.from_environment(**overrides)),
            "notify": build("notify", notify.build, NotifySettings.from_environment(**overrides)),
        }
        yield Assembly(services, gateway, bus, peers)


def _peers(gateway: Gateway, service_token: SecretStr) -> Peers:
    headers = {"authorization": f"Bearer {service_token.get_secret_value()}"}
    client = HttpClient(base_url="http://gateway", app=gateway, headers=headers)
    return Peers(client, client, client, client)
