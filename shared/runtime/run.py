"""Runs services: HTTP, relay, consumers, jobs and loops, until a signal asks to stop; then everything ends in order."""

import asyncio
import contextlib
import gc
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from shared.bus.consumer import Consumer
from shared.bus.exports import HttpExport
from shared.bus.ownership import Ownership
from shared.bus.protocol import Bus
from shared.bus.relay import Relay
from shared.db.faultpoints import arm_from_environment
from shared.logging import get_logger
from shared.runtime.housekeeping import bus_retention, housekeeping
from shared.runtime.key_uses import report_key_uses
from shared.runtime.service import Job, Loop, Peers, Service
from shared.web.health import start_draining

log = get_logger(__name__)

Work = Callable[[], Coroutine[Any, Any, None]]

GRACEFUL_SECONDS = 4
STOP_SECONDS = 4
FIRST_BACKOFF = 0.2
LONGEST_BACKOFF = 30.0


class HttpServer(uvicorn.Server):
    """uvicorn that leaves signals to us: its own handling would raise them again before our clean-up."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def http_server(app: ASGIApp, host: str, port: int) -> HttpServer:
    """Return a server for `app` that ends open streams within GRACEFUL_SECONDS."""
    return HttpServer(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            loop="none",
            http="httptools",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_graceful_shutdown=GRACEFUL_SECONDS,
            timeout_keep_alive=30,
            backlog=2048,
        )
    )


async def run_services(
    services: Sequence[Service],
    bus: Bus,
    peers: Peers,
    server: HttpServer,
    *,
    on_ready: Work | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, or until `on_ready` (called once HTTP answers) returns.

    Everything beside HTTP starts first and stops last, so that no accepted request waits for a loop that is gone.
    """
    arm_from_environment()
    async with background(services, bus, peers):
        tune_garbage_collection()
        _stop_on_signals(server, services)
        serving = asyncio.create_task(server.serve(), name="http")
        try:
            await _until_started(server, serving)
            if on_ready is not None:
                await _first_to_end(asyncio.create_task(on_ready(), name="on-ready"), serving)
                server.should_exit = True
            await serving
        finally:
            server.should_exit = True
            await asyncio.wait({serving}, timeout=GRACEFUL_SECONDS + 1)


async def _until_started(server: HttpServer, serving: asyncio.Task[None]) -> None:
    while not server.started:
        if serving.done():
            serving.result()
            message = "the HTTP server ended before it began"
            raise RuntimeError(message)
        await asyncio.sleep(0.01)


async def _first_to_end(wanted: asyncio.Task[None], other: asyncio.Task[None]) -> None:
    await asyncio.wait({wanted, other}, return_when=asyncio.FIRST_COMPLETED)
    if not wanted.done():
        wanted.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await wanted


@contextlib.asynccontextmanager
async def background(services: Sequence[Service], bus: Bus, peers: Peers) -> AsyncIterator[Sequence[Consumer]]:
    """Run relay, consumers, jobs and loops of `services` within the block, which gets the consumers."""
    export = HttpExport({name: getattr(peers, name) for name in ("pipeline", "kpi", "goals", "notify")})
    consumers = [
        Consumer(service.database, bus, subscription, export)
        for service in services
        for subscription in service.subscriptions
    ]
    tasks = [
        asyncio.create_task(work(), name=f"{service.name}:{name}")
        for service in services
        for name, work in _work_of(service, bus, peers)
    ]
    tasks += [asyncio.create_task(consumer.run(), name=f"consumer:{consumer.group}") for consumer in consumers]
    tasks.append(asyncio.create_task(_repeating(bus_retention(bus))(), name="bus:retention"))
    try:
        yield consumers
    finally:
        for task in tasks:
            task.cancel()
        _, late = await asyncio.wait(tasks, timeout=STOP_SECONDS)
        for task in late:
            log.error("task_did_not_stop", task=task.get_name())


def _work_of(service: Service, bus: Bus, peers: Peers) -> Iterator[tuple[str, Work]]:
    yield "relay", Relay(service.database, bus, service.name).run
    for job in (*service.jobs, *housekeeping(service), report_key_uses(service, peers)):
        yield f"job:{job.name}", _repeating(job)
    for loop in service.loops:
        yield f"loop:{loop.name}", _restarting(loop, service)


def _repeating(job: Job) -> Work:
    async def run() -> None:
        while True:
            try:
                await job.run()
            except Exception:
                # The boundary of a timer: whatever went wrong, the next tick must come.
                log.exception("job_failed", job=job.name)
            await asyncio.sleep(job.every.total_seconds())

    return run


def _restarting(loop: Loop, service: Service) -> Work:
    async def run() -> None:
        backoff = FIRST_BACKOFF
        while True:
            try:
                await (_alone(loop, service) if loop.exclusive else loop.run())
                backoff = FIRST_BACKOFF
            except Exception:
                # The boundary of a loop: it is started again, later and later while it keeps failing.
                log.exception("loop_failed", loop=loop.name)
                backoff = min(backoff * 2, LONGEST_BACKOFF)
            await asyncio.sleep(backoff)

    return run


async def _alone(loop: Loop, service: Service) -> None:
    await Ownership(service.database, f"{service.name}:{loop.name}").run_exclusively(loop.run)


def _stop_on_signals(server: HttpServer, services: Sequence[Service]) -> None:
    def stop(number: int) -> None:
        for service in services:
            start_draining(service.app)
        server.handle_exit(number, None)

    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, stop, number)


def tune_garbage_collection() -> None:
    """Freeze what start-up made and collect rarely: done by every process that serves or folds."""
    # Start-up objects live for ever: frozen, they are not walked again. Measured as the p99 of the move path.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
