"""The goals service as its callers and its bus see it, and a neighbour that answers as kpi is pinned to answer."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from sqlalchemy import text

from shared.auth.development_issuer import DevelopmentIssuer
from shared.bus.consumer import apply_messages
from shared.db.engine import Database
from shared.events.base import Event
from shared.events.codec import Message, decode, encode
from shared.events.kpi import ValueAnnounced, Watch
from shared.http_client import Answer, HttpClient
from shared.runtime.service import Service
from shared.tracing import Cause

NOW = datetime(2026, 6, 16, 4, tzinfo=UTC)


@dataclass
class Clock:
    """A clock that tests set."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        self.now += timedelta(microseconds=1)
        return self.now


@dataclass
class KpiNeighbour:
    """An ASGI application that answers `/kpi/v1/values`; `values` maps (kpi, scope, from, currency) to a value."""

    values: dict[tuple[str, str, str, str | None], str | None] = field(default_factory=dict)
    status: int = 200
    unheard: int = 0  # how many questions come before the event about their scope
    asked: list[dict[str, str]] = field(default_factory=list)

    async def __call__(self, scope: Mapping[str, Any], _receive: object, send: Callable[..., Any]) -> None:
        query = {name: found[0] for name, found in parse_qs(scope["query_string"].decode()).items()}
        self.asked.append(query)
        items = [
            {"kpi": kpi, "scope": where, "period": {"grain": query["grain"], "start": start, "end": query["to"]},
             "by": {}, "value": value, "unit": "money", "currency": currency, "numerator": value, "denominator": "1",
             "sample_size": 3, "reason": None if value else "no_data"}
            for (kpi, where, start, currency), value in self.values.items()
            if (kpi, where) == (query["kpi"], query["scope"])
            and (query["grain"] == "total" or start == query["from"])
            and query.get("currency", currency) == currency
        ]  # fmt: skip
        told = json.dumps({"items": items, "as_of": {"applied": 42}, "definition_versions": {}, "time_zone": "x"})
        status, body = self.status, told
        if "from" in query and query["from"] >= query["to"]:
            status, body = 422, json.dumps({"code": "validation_failed"})
        elif len(self.asked) <= self.unheard:
            status, body = 404, json.dumps({"code": "not_found", "kind": "scope"})
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body.encode()})


@dataclass
class Goals:
    """The service under test, as its callers and its bus see it."""

    service: Service
    database: Database
    client: HttpClient
    issuer: DevelopmentIssuer
    kpi: KpiNeighbour
    clock: Clock

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        role: str = "admin",
        person: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        told = {"authorization": f"Bearer {self.issuer.token(role, person)}", "content-type": "application/json"}
        raw = None if body is None else json.dumps(body).encode()
        return await self.client.request(method, f"/goals/v1{path}", headers=told | dict(headers or {}), body=raw)

    async def ok(self, method: str, path: str, body: object = None, status: int | None = None, **options: Any) -> Any:
        """Call and return the JSON of a success."""
        answer = await self.call(method, path, body, **options)
        assert answer.ok if status is None else answer.status == status, (answer.status, answer.body)
        return json.loads(answer.body) if answer.body else None

    async def problem(self, method: str, path: str, body: object = None, **options: Any) -> dict[str, Any]:
        """Call and return the problem; it has the members every problem has."""
        answer = await self.call(method, path, body, **options)
        assert answer.headers["content-type"] == "application/problem+json", (answer.status, answer.body)
        found: dict[str, Any] = json.loads(answer.body)
        assert found["status"] == answer.status
        return found

    async def change(self, path: str, body: object, **options: Any) -> Any:
        return await self.ok("PATCH", path, body, headers={"if-match": "*"}, **options)

    async def tell(self, *messages: Message) -> None:
        """Let the consumer apply messages of kpi."""
        outcome = await apply_messages(self.database, self.service.subscriptions[0], messages)
        assert outcome.count("dead") == 0, outcome.results

    async def announced(self) -> list[Event]:
        """Return what was written to the outbox since the last call, in order."""
        return [decode(message) for message in await self.sent()]

    async def sent(self) -> list[Message]:
        async with self.database.transaction() as tx:
            rows = await tx.execute(text("DELETE FROM outbox RETURNING id, topic, key, headers, value"))
            return [Message(row.topic, row.key, row.headers, row.value) for row in sorted(rows, key=lambda row: row.id)]

    async def run_job(self, name: str) -> None:
        [job] = [job for job in self.service.jobs if job.name == name]
        await job.run()


def value_message(watch: Watch, value: str | None, version: int, correlation: str = "c", **fields: Any) -> Message:
    """Return a value as kpi announces it."""
    assert watch.start is not None
    assert watch.end is not None
    event = ValueAnnounced(
        version=version,
        recorded_at=NOW,
        watch=watch,
        period_start=watch.start,
        period_end=watch.end,
        value=value,
        unit="money",
        currency=watch.currency,
        reason=None if value else "no_data",
        **fields,
    )
    return encode(event, Cause(correlation, None, "00-" + "a" * 32 + "-" + "b" * 16 + "-01"))


@dataclass
class Organisation:
    """Ids by external id: office north with teams red (Rita) and blue (Bob); Ann and Ben are red, Cid is blue."""

    teams: dict[str, str]
    people: dict[str, str]
