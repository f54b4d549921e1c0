"""Runs one service as a process, everything from its environment.

It answers HTTP at once and waits for what it needs, in whatever order that starts: /readyz says what is missing. It
never migrates by itself: `salesgrain migrate --service NAME` does.
"""

import asyncio
import contextlib
import sys
from collections.abc import Callable
from typing import TypeVar

import uvloop
from pydantic import ValidationError

from shared.auth.development_issuer import ISSUER as DEVELOPMENT_ISSUER
from shared.auth.opening import open_verifier
from shared.auth.tokens import TokenVerifier
from shared.bus.opening import UnknownLog, read_kafka_url
from shared.bus.protocol import Bus
from shared.clock import utc_now
from shared.db.engine import Database
from shared.db.faultpoints import arm_from_environment
from shared.http_client import HttpClient
from shared.logging import configure_logging, get_logger
from shared.runtime.entrance import Entrance
from shared.runtime.run import background, http_server, tune_garbage_collection
from shared.runtime.service import Peers, Resources, Service
from shared.runtime.shutdown import Shutdown, serve_until_asked
from shared.runtime.waiting import Progress, Waits, bus_at
from shared.settings import Settings
from shared.web.health import Readiness, platform_checks

log = get_logger(__name__)

S = TypeVar("S", bound=Settings)

Builder = Callable[[S, Resources], Service]

# Setting, its name in the environment, and what it is for.
REQUIRED = (
    ("database_url", "DATABASE_URL", "where the database of this service is (postgresql+asyncpg://...)"),
    ("bus_url", "BUS_URL", "where the events go (kafka://host:port or postgresql+asyncpg://...)"),
    ("service_token", "SERVICE_TOKEN", "the token with which services ask each other"),
)


def run_alone(name: str, settings_class: type[S], build: Builder[S]) -> None:
    """Run one service until SIGTERM or SIGINT; ends with code 1 and a line for each setting that is missing or bad."""
    settings = settings_or_exit(name, settings_class)
    wrong = _missing(settings)
    if wrong:
        sys.exit("\n".join(f"{name}: {line}" for line in wrong))
    configure_logging(settings.log_level, settings.log_format)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(name, settings, build))


def settings_or_exit(name: str, settings_class: type[S]) -> S:
    """Read the environment; ends the process with a line for each setting that is bad."""
    try:
        return settings_class.from_environment()
    except ValidationError as error:
        sys.exit("\n".join(f"{name}: {str(wrong['loc'][0]).upper()}: {wrong['msg']}" for wrong in error.errors()))


def _missing(settings: Settings) -> list[str]:
    lines = [
        f"{variable} is not set: {purpose}" for field, variable, purpose in REQUIRED if getattr(settings, field) is None
    ]
    if not (settings.auth_jwks_file or settings.auth_jwks_url or settings.auth_issuer.startswith("http")):
        lines.append("AUTH_ISSUER is not set: the URL of the OIDC issuer (or set AUTH_JWKS_URL or AUTH_JWKS_FILE)")
    elif settings.environment == "production" and settings.auth_issuer == DEVELOPMENT_ISSUER:
        lines.append("AUTH_ISSUER is not set: in production no token of a development issuer is taken")
    if settings.bus_url and not settings.bus_url.startswith("postgresql"):
        try:
            read_kafka_url(settings.bus_url)
        except UnknownLog as error:
            lines.append(f"BUS_URL: {error}")
    return lines


async def _serve(name: str, settings: S, build: Builder[S]) -> None:
    shutdown, waits = Shutdown(), Waits()
    shutdown.listen()
    arm_from_environment()
    async with contextlib.AsyncExitStack() as stack:
        database = Database(settings.database_url or "", name)
        stack.push_async_callback(database.close)
        progress = Progress(name, database)
        early = Readiness({**platform_checks(name, database), "auth": progress.auth_check})
        progress.watch(early)
        entrance = Entrance(early)
        working = asyncio.create_task(_work(settings, build, progress, waits, entrance), name="work")
        server = http_server(entrance, settings.host, settings.port)
        try:
            await serve_until_asked(
                server, shutdown, working=working, drain=entrance.drain, drain_seconds=settings.drain_seconds
            )
        finally:
            working.cancel()
            await asyncio.wait({working})
    log.info("ended")


async def _work(settings: S, build: Builder[S], progress: Progress, waits: Waits, entrance: Entrance) -> None:
    """Build the service as soon as tokens can be checked; begin its work when database, schema and log are there."""
    async with contextlib.AsyncExitStack() as stack:
        outside = HttpClient()
        stack.push_async_callback(outside.close)
        peers = _peers(settings, stack)

        async def trusted() -> Service:
            verifier = await waits.until_there("auth", lambda: _verifier(settings, outside))
            service = build(settings, Resources(progress.database, peers, outside, verifier, utc_now))
            progress.trusts = True
            progress.watch(service.app.state.readiness)
            entrance.open(service.app, service.app.state.readiness)
            return service

        async def reached() -> Bus:
            progress.bus = bus = await waits.until_there("bus", lambda: bus_at(settings.bus_url or ""))
            stack.push_async_callback(bus.close)
            return bus

        async with asyncio.TaskGroup() as group:
            building, reaching = group.create_task(trusted()), group.create_task(reached())
            for what, check in platform_checks(progress.name, progress.database).items():
                group.create_task(waits.until_held(what, check))
        async with background([building.result()], reaching.result(), peers) as consumers:
            progress.consumers = consumers
            tune_garbage_collection()
            log.info("working", service=progress.name)
            await asyncio.Event().wait()


async def _verifier(settings: Settings, outside: HttpClient) -> TokenVerifier:
    verifier = open_verifier(settings, outside)
    if verifier is None:
        message = "nothing says where the issuer's keys are"
        raise ValueError(message)
    return verifier


def _peers(settings: Settings, stack: contextlib.AsyncExitStack) -> Peers:
    token = settings.service_token.get_secret_value() if settings.service_token else ""

    def client(url: str) -> HttpClient:
        made = HttpClient(base_url=url, headers={"authorization": f"Bearer {token}"})
        stack.push_async_callback(made.close)
        return made

    return Peers(*map(client, (settings.pipeline_url, settings.kpi_url, settings.goals_url, settings.notify_url)))
