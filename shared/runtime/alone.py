"""Runs one service as a process, everything from its environment."""

import asyncio
import contextlib
import sys
from collections.abc import Callable
from typing import TypeVar

import uvloop

from shared.auth.tokens import TokenVerifier
from shared.bus.opening import UnknownLog, open_bus
from shared.bus.protocol import Bus
from shared.clock import utc_now
from shared.db.engine import Database
from shared.db.migrations import upgrade
from shared.http_client import HttpClient
from shared.logging import configure_logging
from shared.runtime.run import http_server, run_services
from shared.runtime.service import Peers, Resources, Service
from shared.settings import Settings

S = TypeVar("S", bound=Settings)


class MissingSetting(SystemExit):
    """A setting without which this process cannot run; the message names it."""

    def __init__(self, name: str, purpose: str) -> None:
        super().__init__(f"{name} is not set: {purpose}")


def run_alone(name: str, settings_class: type[S], build: Callable[[S, Resources], Service]) -> None:
    """Run one service until SIGTERM or SIGINT; exits with a clear message when a setting is missing."""
    settings = settings_class.from_environment()
    configure_logging(settings.log_level, settings.log_format)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(name, settings, build))


async def _serve(name: str, settings: S, build: Callable[[S, Resources], Service]) -> None:
    if settings.database_url is None:
        raise MissingSetting("DATABASE_URL", f"where the database of {name} is (postgresql+asyncpg://...)")
    async with contextlib.AsyncExitStack() as stack:
        await upgrade(settings.database_url, name)
        database = Database(settings.database_url, name)
        stack.push_async_callback(database.close)
        bus = await _open_bus(settings)
        stack.push_async_callback(bus.close)
        outside = HttpClient()
        stack.push_async_callback(outside.close)
        peers = _peers(settings, stack)
        service = build(settings, Resources(database, bus, peers, outside, _verifier(settings), utc_now))
        await run_services([service], bus, peers, http_server(service.app, settings.host, settings.port))


async def _open_bus(settings: Settings) -> Bus:
    if settings.bus_url is None:
        raise MissingSetting("BUS_URL", "where the events go (kafka://host:port or postgresql+asyncpg://...)")
    try:
        return await open_bus(settings.bus_url)
    except UnknownLog as error:
        sys.exit(f"BUS_URL: {error}")


def _verifier(settings: Settings) -> TokenVerifier:
    if settings.auth_jwks_file is None:
        raise MissingSetting("AUTH_JWKS_FILE", "the key set (JWKS) that signs the tokens")
    return TokenVerifier.from_file(settings.auth_jwks_file, settings.auth_issuer, settings.auth_audience)


def _peers(settings: Settings, stack: contextlib.AsyncExitStack) -> Peers:
    if settings.service_token is None:
        raise MissingSetting("SERVICE_TOKEN", "the token with which services ask each other (role admin)")
    headers = {"authorization": f"Bearer {settings.service_token.get_secret_value()}"}

    def client(url: str) -> HttpClient:
        made = HttpClient(base_url=url, headers=headers)
        stack.push_async_callback(made.close)
        return made

    urls = (settings.pipeline_url, settings.kpi_url, settings.goals_url, settings.notify_url)
    return Peers(*map(client, urls))
