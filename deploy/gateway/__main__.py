"""`python -m deploy.gateway`: HOST, PORT, PIPELINE_URL, KPI_URL, GOALS_URL and NOTIFY_URL from the environment."""

import asyncio
import contextlib

import uvloop

from deploy.gateway.proxy import Proxy
from deploy.gateway.replicas import Replicas
from deploy.gateway.root import Root
from shared.http_client import Answer, HttpClient, HttpFailure, RawClient
from shared.logging import configure_logging
from shared.runtime.alone import settings_or_exit
from shared.runtime.run import http_server, tune_garbage_collection
from shared.runtime.shutdown import Shutdown, serve_until_asked
from shared.settings import Settings

CONNECTIONS = 1000
CONNECT_SECONDS = 2.0
# The longest that a service is silent: an event stream says something every 15 s.
SILENT_SECONDS = 60.0


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    shutdown = Shutdown()
    shutdown.listen()
    urls = {
        "pipeline": settings.pipeline_url,
        "kpi": settings.kpi_url,
        "goals": settings.goals_url,
        "notify": settings.notify_url,
    }
    async with contextlib.AsyncExitStack() as stack:
        probing = HttpClient()
        stack.push_async_callback(probing.close)
        passing = RawClient(connections=CONNECTIONS, connect_seconds=CONNECT_SECONDS, silent_seconds=SILENT_SECONDS)
        stack.push_async_callback(passing.close)
        replicas = {service: Replicas(service, told) for service, told in urls.items()}
        watching = asyncio.create_task(_watch(replicas, probing))
        proxy = Proxy(replicas, passing, _root(replicas, probing))
        tune_garbage_collection()
        await serve_until_asked(
            http_server(proxy, settings.host, settings.port),
            shutdown,
            working=watching,
            drain=proxy.drain,
            end=proxy.end,
            drain_seconds=settings.drain_seconds,
        )
        watching.cancel()
        await asyncio.wait({watching})


async def _watch(replicas: dict[str, Replicas], client: HttpClient) -> None:
    async with asyncio.TaskGroup() as group:
        for known in replicas.values():
            group.create_task(known.watch(client))


def _root(replicas: dict[str, Replicas], client: HttpClient) -> Root:
    async def ask(service: str, path: str) -> Answer:
        failure: HttpFailure | None = None
        for replica in replicas[service].in_turn():
            try:
                return await client.request("GET", f"{replica.url}{path}")
            except HttpFailure as error:
                failure = error
        raise failure or HttpFailure(f"{service} has no replica")

    def facts(service: str) -> dict[str, object]:
        return {"replicas": {"known": replicas[service].known, "ready": replicas[service].ready}}

    return Root(replicas, ask, facts)


def main() -> None:
    settings = settings_or_exit("gateway", Settings)
    configure_logging(settings.log_level, settings.log_format)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


if __name__ == "__main__":
    main()
