import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from shared.auth.development_issuer import DevelopmentIssuer
from shared.clock import utc_now
from shared.db.engine import Database
from shared.http_client import HttpClient
from shared.web import sse
from shared.web.feeds import Broadcast, Feed, FeedItem, append_to_feed, forget_old_entries
from tests.shared.web.streaming import listening, serving
from tests.shared.web.test_problems import problem, send

FEED = "toy"


@pytest.fixture
async def url(app: FastAPI) -> AsyncIterator[str]:
    async with serving(app) as base:
        yield f"{base}/toy/v1/stream"


def bearer(issuer: DevelopmentIssuer, role: str = "admin", person: str | None = None) -> dict[str, str]:
    return {"authorization": f"Bearer {issuer.token(role, person)}"}


async def tell(app: FastAPI, *names: str, scope: str = "org") -> None:
    context = app.state.context
    async with context.database.transaction() as tx:
        await append_to_feed(tx, FEED, [FeedItem(scope, "told", {"name": name}) for name in names])
    context.feed.wake.notify()


async def test_what_happens_is_streamed_and_resumed(app: FastAPI, url: str, issuer: DevelopmentIssuer) -> None:
    await tell(app, "before")
    async with listening(url, bearer(issuer)) as stream:
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        assert stream.response.headers["cache-control"] == "no-store"
        assert stream.response.headers["x-accel-buffering"] == "no"
        await tell(app, "a", "b")
        got = [await stream.event(), await stream.event()]
    assert [(one.id, one.event, json.loads(one.data or "")) for one in got] == [
        ("2", "told", {"name": "a"}), ("3", "told", {"name": "b"}),
    ]  # fmt: skip
    await tell(app, "c", "d")
    async with listening(url, {**bearer(issuer), "last-event-id": "3"}) as stream:
        assert [(await stream.event()).id for _ in range(2)] == ["4", "5"]
    async with listening(f"{url}?last_event_id=0", bearer(issuer)) as stream:
        assert [(await stream.event()).id for _ in range(5)] == ["1", "2", "3", "4", "5"]


async def test_a_listener_who_missed_something_is_told_to_reset(
    app: FastAPI, url: str, issuer: DevelopmentIssuer, database: Database
) -> None:
    await tell(app, *"abcde")
    async with database.transaction() as tx:
        await tx.execute(text("UPDATE feed_entry SET created_at = created_at - interval '2 days' WHERE seq <= 3"))
        assert await forget_old_entries(tx, utc_now()) == 3
    for told in ("1", "99", "abc", "-1", "9" * 30):
        async with listening(url, {**bearer(issuer), "last-event-id": told}) as stream:
            first = await stream.event()
            assert (first.event, first.id) == ("reset", "5")
    async with listening(url, {**bearer(issuer), "last-event-id": "3"}) as stream:
        assert (await stream.event()).id == "4"
    async with database.transaction() as tx:
        await forget_old_entries(tx, utc_now() + timedelta(days=2))
    async with listening(url, {**bearer(issuer), "last-event-id": "4"}) as stream:
        assert (await stream.event()).event == "reset"
    async with listening(url, {**bearer(issuer), "last-event-id": "5"}) as stream:
        await tell(app, "f")
        assert (await stream.event()).id == "6"


async def test_everybody_hears_only_what_they_may_see(app: FastAPI, url: str, issuer: DevelopmentIssuer) -> None:
    ann = str(uuid4())
    async with listening(url, bearer(issuer, "rep", ann)) as own, listening(url, bearer(issuer)) as admin:
        await tell(app, "1", scope="org")
        await tell(app, "2", scope=f"person:{uuid4()}")
        await tell(app, "3", scope=f"person:{ann}")
        await tell(app, "4", scope=f"person:external:{ann}")
        assert [(await own.event()).id for _ in range(2)] == ["3", "4"]
        assert [(await admin.event()).id for _ in range(4)] == ["1", "2", "3", "4"]
        assert await own.silent(0.3)


async def test_heartbeats_move_the_listener_on(
    app: FastAPI, url: str, issuer: DevelopmentIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.2)
    async with listening(url, bearer(issuer, "rep", "ann")) as stream:
        await tell(app, *"abc", scope="person:other")
        while (beat := await stream.next()).id != "3":
            assert beat.event is None
        assert beat.comment == "ping"


async def test_a_ticket_opens_one_stream(
    app: FastAPI, url: str, client: HttpClient, issuer: DevelopmentIssuer, database: Database
) -> None:
    ticket = json.loads((await send(client, "POST", "/toy/v1/stream-tickets")).body)["ticket"]
    async with database.transaction() as tx:
        stored = (await tx.execute(text("SELECT * FROM stream_ticket"))).one()
    assert ticket.encode() not in bytes(stored.digest)
    async with listening(f"{url}?ticket={ticket}", {}) as stream:
        await tell(app, "a")
        assert (await stream.event()).id == "1"
    for bad in (ticket, "unknown", "%E4%BD%A0"):
        problem(await send(client, "GET", f"/toy/v1/stream?ticket={bad}"), 401, "ticket_invalid")
    problem(await send(HttpClient(base_url="http://toy", app=app), "GET", "/toy/v1/stream"), 401, "unauthenticated")


async def test_a_ticket_lives_for_a_minute(app: FastAPI, client: HttpClient) -> None:
    ticket = json.loads((await send(client, "POST", "/toy/v1/stream-tickets")).body)["ticket"]
    app.state.clock = lambda: utc_now() + timedelta(seconds=61)
    problem(await send(client, "GET", f"/toy/v1/stream?ticket={ticket}"), 401, "ticket_invalid")


async def test_entries_of_another_process_are_found(app: FastAPI, url: str, issuer: DevelopmentIssuer) -> None:
    async with listening(url, bearer(issuer)) as stream:
        async with app.state.database.transaction() as tx:
            await append_to_feed(tx, FEED, [FeedItem("org", "told", {})])
        assert (await stream.event(timeout=4)).id == "1"


async def test_head_opens_no_stream(url: str, issuer: DevelopmentIssuer) -> None:
    async with httpx.AsyncClient() as client, asyncio.timeout(5):
        answer = await client.head(url, headers=bearer(issuer))
    assert answer.status_code == 200


async def test_numbers_are_dense_whoever_writes(database: Database) -> None:
    async def write(name: str) -> None:
        for _ in range(10):
            async with database.transaction() as tx:
                await append_to_feed(tx, FEED, [FeedItem("org", name, {})] * 3)

    await asyncio.gather(*(write(name) for name in "abcd"))
    async with database.transaction() as tx:
        await append_to_feed(tx, FEED, [])
        numbers = list((await tx.execute(text("SELECT seq FROM feed_entry ORDER BY seq"))).scalars())
    assert numbers == list(range(1, 121))


async def test_many_listeners_ask_the_database_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = Feed(database, FEED, Broadcast())
    assert await feed.after(0) == []
    asked = 0
    stored_after = Feed._stored_after

    async def counted(self: Feed, seq: int) -> object:
        nonlocal asked
        asked += 1
        return await stored_after(self, seq)

    monkeypatch.setattr(Feed, "_stored_after", counted)
    async with database.transaction() as tx:
        await append_to_feed(tx, FEED, [FeedItem("org", "told", {})] * 5)
    feed.wake.notify()
    found = await asyncio.gather(*(feed.after(number % 5) for number in range(100)))
    assert [len(entries) for entries in found] == [5 - number % 5 for number in range(100)]
    assert asked == 2  # the page and the empty one behind it


SERVE = """
import asyncio, signal, sys
from shared.auth.development_issuer import DevelopmentIssuer
from shared.db.engine import Database
from shared.runtime.run import http_server
from tests.shared.web.toy import make_app
from pathlib import Path

async def main():
    database = Database(sys.argv[1], "toy")
    app = make_app(database, DevelopmentIssuer.load_or_create(Path(sys.argv[2])))
    server = http_server(app, "127.0.0.1", 0)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.handle_exit, signal.SIGTERM, None)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await task
    await database.close()

asyncio.run(main())
"""


@pytest.mark.slow
async def test_a_server_with_open_streams_ends_quickly(database: Database, app: FastAPI, tmp_path: Path) -> None:
    key = tmp_path / "issuer.jwk"
    command = [sys.executable, "-c", SERVE, database.url, str(key)]
    process = await asyncio.to_thread(subprocess.Popen, command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(await asyncio.to_thread(process.stdout.readline))
        issuer = DevelopmentIssuer.load_or_create(key)
        async with listening(f"http://127.0.0.1:{port}/toy/v1/stream", bearer(issuer)) as stream:
            await tell(app, "a")
            assert (await stream.event()).id == "1"
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            with pytest.raises((EOFError, httpx.RemoteProtocolError)):
                await stream.event()
            assert await asyncio.to_thread(process.wait, 10) == 0
            assert time.monotonic() - started < 10
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
