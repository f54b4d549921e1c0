"""The whole notify service on a real database, without running loops: tests drive consumers, sender and clock."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy import text

from services.notify.api.context import Context
from services.notify.service import build
from services.notify.settings import NotifySettings
from services.notify.use_cases.holds import fire_due
from services.notify.use_cases.sending import Sender
from shared.auth.development_issuer import DevelopmentIssuer
from shared.bus.consumer import apply_messages
from shared.clock import utc_now
from shared.db.engine import Database
from shared.events.base import Event
from shared.events.catalogue import CATALOGUE
from shared.events.codec import Message
from shared.http_client import HttpClient
from shared.runtime.service import Peers, Resources, Service
from tests.services.notify.building import message
from tests.services.notify.receiver import Receiver, receiving


class TestClock:
    """The wall clock, moved on by hand."""

    __test__ = False

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self.ahead

    def advance(self, **by: float) -> None:
        self.ahead += timedelta(**by)


@dataclass
class Notify:
    """The service under test and everything to drive it with."""

    database: Database
    service: Service
    issuer: DevelopmentIssuer
    clock: TestClock
    settings: NotifySettings
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    @property
    def context(self) -> Context:
        found: Context = self.service.app.state.context
        return found

    def client(self, role: str = "admin", person: str | None = None) -> httpx.AsyncClient:
        """A caller over HTTP with a token."""
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.service.app),
            base_url="http://notify",
            headers={"authorization": f"Bearer {self.issuer.token(role, person)}"},
        )
        self.clients.append(client)
        return client

    def sender(self, like: "Notify | None" = None) -> Sender:
        """Another replica's sender, with the ways out of `like` if given."""
        context, other = self.context, (like or self).context
        return Sender(self.database, other.adapters, context.names, self.settings, self.clock, context.wake)

    async def hear(self, *events: Event | Message) -> None:
        """Let the consumers take events as the bus brings them."""
        told = [event if isinstance(event, Message) else message(event) for event in events]
        for subscription in self.service.subscriptions:
            mine = [one for one in told if one.topic in subscription.topics]
            outcome = await apply_messages(self.database, subscription, mine)
            assert outcome.count("dead") == 0

    async def hear_news(self, *events: Event) -> None:
        """As `hear`, with everything happening now."""
        now = self.clock()
        await self.hear(*(replace_times(event, now) for event in events))

    async def fire_due(self) -> int:
        return await fire_due(self.database, self.context.alerting)

    async def announced(self, event_type: str) -> list[Any]:
        """Every event of a type in the outbox, in order."""
        async with self.database.transaction() as tx:
            rows = await tx.execute(text("SELECT headers, value FROM outbox ORDER BY id"))
            found = [(row.headers, row.value) for row in rows]
        kind = CATALOGUE[event_type]
        return [msgspec.json.decode(body, type=kind) for headers, body in found if headers["ce_type"] == event_type]

    async def alerts(self, **wanted: str) -> list[dict[str, Any]]:
        answer = await self.client().get("/notify/v1/alerts", params=wanted)
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    async def deliveries(self, **wanted: str) -> list[dict[str, Any]]:
        answer = await self.client().get("/notify/v1/deliveries", params=wanted)
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    async def make_rule(self, client: httpx.AsyncClient | None = None, **said: Any) -> dict[str, Any]:
        body = {"name": "A rule", "when": {"event": "deal_won"}, **said}
        answer = await (client or self.client()).post("/notify/v1/rules", json=body)
        assert answer.status_code == 201, answer.text
        rule: dict[str, Any] = answer.json()
        return rule

    async def make_channel(self, url: str, **said: Any) -> dict[str, Any]:
        answer = await self.client().post("/notify/v1/channels", json={"kind": "webhook", "url": url, **said})
        assert answer.status_code == 201, answer.text
        channel: dict[str, Any] = answer.json()
        return channel

    async def send_all(self, sender: Sender | None = None) -> int:
        """Send until nothing is due."""
        using = sender or self.sender()
        total = 0
        while sent := await using.send_due():
            total += sent
        return total

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """The service's own loop, running."""
        (loop,) = self.service.loops
        task = asyncio.create_task(loop.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})


def replace_times(event: Event, now: datetime) -> Event:
    times = {"recorded_at": now} | ({"occurred_at": now} if hasattr(event, "occurred_at") else {})
    return msgspec.structs.replace(event, **times)


@pytest.fixture
async def make_notify(service_database: Callable[[str], str]) -> AsyncIterator[Callable[..., Notify]]:
    """`make_notify(**settings)` makes the service on a fresh database."""
    made: list[Notify] = []
    issuer = DevelopmentIssuer.create()
    outside = HttpClient()
    # Nobody listens there: every name falls back to its id.
    nobody = HttpClient(base_url="http://127.0.0.1:9")

    def make(**said: Any) -> Notify:
        settings = NotifySettings(**{"webhook_allow_private": True, **said})
        database = Database(service_database("notify"), "notify-test")
        clock = TestClock()
        resources = Resources(
            database,
            said.pop("peers", None) or Peers(nobody, nobody, nobody, nobody),
            outside,
            issuer.verifier(),
            clock,
        )
        made.append(Notify(database, build(settings, resources), issuer, clock, settings))
        return made[-1]

    yield make
    for one in made:
        for client in one.clients:
            await client.aclose()
        await one.database.close()
    await outside.close()
    await nobody.close()


@pytest.fixture
def notify(make_notify: Callable[..., Notify]) -> Notify:
    return make_notify()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found
