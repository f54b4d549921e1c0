"""Connections to a database on another host end when it falls silent: the kernel is told so."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy.engine import make_url

from shared.db.engine import Database
from shared.db.silence import PROBE_AFTER_SECONDS, UNACKNOWLEDGED_MILLISECONDS, end_when_silent


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


@pytest.fixture
async def by_tcp(empty_database: Callable[[], str]) -> AsyncIterator[str]:
    """The URL of an empty database by TCP: the server itself listens on a Unix socket only."""
    url = make_url(empty_database())
    place = f"{url.query['host']}/.s.PGSQL.{url.query.get('port', 5432)}"
    at_work: set[asyncio.Task[None]] = set()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(place)
        at_work.update((asyncio.create_task(pipe(reader, back)), asyncio.create_task(pipe(there, writer))))

    server = await asyncio.start_server(join, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield url.set(host="127.0.0.1", port=port, query={}).render_as_string(hide_password=False)
    await asyncio.wait(at_work)


def options(told: socket.socket) -> tuple[int, ...]:
    with socket.socket(fileno=os.dup(told.fileno())) as same:
        return (
            same.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            same.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
            same.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
        )


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="these are the names of Linux")
async def test_every_connection_of_a_database_ends_when_its_host_is_silent(by_tcp: str) -> None:
    wanted = (1, PROBE_AFTER_SECONDS, UNACKNOWLEDGED_MILLISECONDS)
    database = Database(by_tcp, "tested")
    async with database.transaction() as tx:
        pooled = (await tx.get_raw_connection()).driver_connection
        assert pooled is not None
        assert options(pooled._transport.get_extra_info("socket")) == wanted
    dedicated = await database.connect_dedicated()
    assert options(dedicated._transport.get_extra_info("socket")) == wanted
    await dedicated.close()
    await database.close()


async def test_a_unix_socket_is_left_alone(empty_database: Callable[[], str]) -> None:
    database = Database(empty_database(), "tested")
    dedicated = await database.connect_dedicated()
    end_when_silent(dedicated._transport)
    assert await dedicated.fetchval("SELECT 1") == 1
    await dedicated.close()
    await database.close()
