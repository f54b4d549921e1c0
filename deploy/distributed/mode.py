"""Runs the distributed mode: what it consists of, in which environment, and where it says so."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deploy.demo.processes import free_port
from deploy.distributed.fleet import Fleet, Program
from deploy.embedded.assembly import DATABASES, SERVICES, migrate_all
from deploy.embedded.issuer import derived_secret, issuer_of
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.kafka.cluster import LocalKafka, running_kafka
from deploy.kafka.jars import LocalKafkaError
from deploy.running import Place, Running, forget
from shared.bus.kafka import opened_admin
from shared.bus.kafka_faults import KafkaUnavailable
from shared.bus.kafka_topics import arrange_topics
from shared.logging import get_logger
from shared.settings import Settings

log = get_logger(__name__)

BusKind = Literal["kafka", "postgres"]

# Every replica has pools of its own.
SERVER_SETTINGS = {"max_connections": "500"}
KEY_SET = "jwks.json"
KAFKA_WATCH_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line says."""

    data_dir: Path
    host: str
    port: int
    bus: BusKind
    replicas: int
    run_as: str | None = None


async def serve(wanted: Wanted) -> None:
    """Run everything until SIGTERM or SIGINT.

    Raises EmbeddedPostgresError, LocalKafkaError or DevelopmentIssuerRefused: what stands in the way, and what to do.
    """
    asked = asyncio.Event()
    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, asked.set)
    settings = Settings.from_environment()
    issuer = issuer_of(wanted.data_dir, settings)
    (wanted.data_dir / KEY_SET).write_text(issuer.key_set_text(), encoding="utf-8")
    async with contextlib.AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(_postgres(wanted))
        bus_url = await stack.enter_async_context(_log(wanted, postgres))
        programs = _programs(wanted, postgres, bus_url)
        gateway = f"http://{wanted.host}:{wanted.port}"

        def told(processes: dict[str, Place]) -> None:
            Running(os.getpid(), bus_url, gateway, processes).write(wanted.data_dir)

        stack.callback(forget, wanted.data_dir)
        fleet = asyncio.create_task(Fleet(programs, wanted.data_dir / "logs", told).run(), name="fleet")
        waiting = asyncio.create_task(asked.wait())
        try:
            # The services wait for it by themselves.
            await migrate_all(postgres.url)
            await asyncio.wait({fleet, waiting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            fleet.cancel()
            await asyncio.wait({fleet, waiting})
    if not fleet.cancelled():
        fleet.result()


def _programs(wanted: Wanted, postgres: EmbeddedPostgres, bus_url: str) -> list[Program]:
    gateway = f"http://127.0.0.1:{wanted.port}"
    everybody = {
        "ENVIRONMENT": "development",
        "BUS_URL": bus_url,
        "AUTH_JWKS_FILE": str(wanted.data_dir.absolute() / KEY_SET),
        "SERVICE_TOKEN": derived_secret(wanted.data_dir, "services"),
        "CURSOR_SECRET": derived_secret(wanted.data_dir, "cursors"),
        "WEBHOOK_ALLOW_PRIVATE": "true",
        "HOST": "127.0.0.1",
        **{f"{name.upper()}_URL": gateway for name in SERVICES},
    }
    programs: list[Program] = []
    upstreams: dict[str, list[str]] = {name: [] for name in SERVICES}
    for name in SERVICES:
        for number in range(1, wanted.replicas + 1):
            port = free_port(None)
            own = {"PORT": str(port), "DATABASE_URL": postgres.url(name)}
            upstreams[name].append(f"http://127.0.0.1:{port}")
            programs.append(Program(f"{name}-{number}", f"services.{name}", upstreams[name][-1], {**everybody, **own}))
    urls = {f"{name.upper()}_URL": ",".join(upstreams[name]) for name in SERVICES}
    place = {"HOST": wanted.host, "PORT": str(wanted.port)}
    return [*programs, Program("gateway", "deploy.gateway", gateway, {**everybody, **place, **urls})]


@contextlib.asynccontextmanager
async def _postgres(wanted: Wanted) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(wanted.data_dir, run_as=wanted.run_as, settings=SERVER_SETTINGS)
    server.start()
    supervising = asyncio.create_task(server.supervise(), name="postgres")
    try:
        server.ensure_databases(DATABASES)
        yield server
    finally:
        await asyncio.to_thread(server.stop)
        await supervising


@contextlib.asynccontextmanager
async def _log(wanted: Wanted, postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """Within the block: the URL of the log; Kafka gets its topics while the services already wait for them."""
    if wanted.bus == "postgres":
        yield postgres.url("bus")
        return
    folder = wanted.data_dir.absolute() / "kafka"
    folder.mkdir(mode=0o700, exist_ok=True)
    with running_kafka(1, folder) as kafka:
        keeping = asyncio.create_task(_keep(kafka), name="kafka")
        try:
            yield kafka.url
        finally:
            keeping.cancel()
            await asyncio.wait({keeping})


async def _keep(kafka: LocalKafka) -> None:
    """Start the broker again whenever it dies, and make the topics, as often as it takes."""
    prepared = False
    while True:
        prepared = prepared or await _prepared(kafka)
        for broker in kafka.brokers:
            if not broker.running:
                log.warning("broker_died", log=str(broker.folder / "log"))
                kafka.restart(broker)
        await asyncio.sleep(KAFKA_WATCH_SECONDS)


async def _prepared(kafka: LocalKafka) -> bool:
    try:
        await kafka.wait_ready()
        async with opened_admin(kafka.servers.split(",")) as admin:
            await arrange_topics(admin)
    except (LocalKafkaError, KafkaUnavailable) as error:
        log.warning("topics_not_made", error=str(error))
        return False
    return True
