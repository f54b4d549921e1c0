"""A KPI service without its loops, driven by hand."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from shared.auth.development_issuer import DevelopmentIssuer
from shared.bus.consumer import apply_messages
from shared.bus.intake import Outcome
from shared.bus.subscription import Subscription
from shared.db.engine import Database
from shared.events.base import Event
from shared.events.codec import Message, decode, encode
from shared.events.kpi import ValueAnnounced
from shared.http_client import HttpClient
from shared.runtime.service import Service

NOON = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        self.now += timedelta(microseconds=1)
        return self.now


@dataclass
class Kpi:
    """The service, its database, and who asks it."""

    service: Service
    database: Database
    client: HttpClient
    issuer: DevelopmentIssuer
    clock: Clock

    @property
    def subscription(self) -> Subscription:
        return self.service.subscriptions[0]

    async def apply(self, *messages: Message | Event) -> Outcome:
        """Consume as one batch."""
        told = [one if isinstance(one, Message) else encode(one) for one in messages]
        return await apply_messages(self.database, self.subscription, told)

    async def announce(self) -> list[ValueAnnounced]:
        """Let the announcer work off its marks; return what it put into the outbox, which is emptied."""
        announcer: Any = self.service.loops[0].run.__self__  # type: ignore[attr-defined]
        while await announcer.step():
            pass
        async with self.database.transaction() as tx:
            rows = (await tx.exec_driver_sql("DELETE FROM outbox RETURNING id, topic, key, headers, value")).all()
        told = [decode(Message(row.topic, row.key, row.headers, row.value)) for row in sorted(rows)]
        return [event for event in told if isinstance(event, ValueAnnounced)]

    async def get(
        self, path: str, status: int = 200, role: str = "admin", person: str | None = None, **params: Any
    ) -> Any:
        """Ask over HTTP; `from_` stands for `from`."""
        query = urlencode({name.rstrip("_"): value for name, value in params.items()}, doseq=True)
        headers = {"authorization": f"Bearer {self.issuer.token(role, person)}"}
        answer = await self.client.request("GET", f"/kpi/v1{path}?{query}", headers=headers)
        assert answer.status == status, (answer.status, answer.body)
        return json.loads(answer.body)

    async def value(self, kpi: str, **params: Any) -> str | None:
        """Return the value of the only item."""
        [item] = (await self.get("/values", kpi=kpi, **params))["items"]
        return item["value"]  # type: ignore[no-any-return]

    async def rows(self, statement: str) -> list[Any]:
        async with self.database.transaction() as tx:
            return list((await tx.exec_driver_sql(statement)).all())
