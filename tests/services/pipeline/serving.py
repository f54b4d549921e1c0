"""Pipeline as its callers and its bus see it, on a real database."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import text

from shared.auth.development_issuer import DevelopmentIssuer
from shared.bus.consumer import apply_messages
from shared.db.engine import Database
from shared.events.base import Event
from shared.events.codec import Message, decode, encode
from shared.events.goals import Membership, PersonChanged, TeamChanged
from shared.http_client import Answer, HttpClient
from shared.runtime.service import Service
from tests.services.pipeline.building import NOW, definition

_NAMES = UUID("0f5bb1e4-6a3e-4b8e-9b57-0c8f1c0a7a11")


@dataclass
class Clock:
    """A clock that tests set; it moves a microsecond each time it is read."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        self.now += timedelta(microseconds=1)
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


def person_id(name: str) -> UUID:
    """The id that goals gave to a person."""
    return uuid5(_NAMES, name)


@dataclass
class Pipeline:
    """The service under test."""

    service: Service
    database: Database
    client: HttpClient
    issuer: DevelopmentIssuer
    clock: Clock
    _tokens: dict[tuple[str, str | None], str] = field(default_factory=dict)

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
        if (role, person) not in self._tokens:
            self._tokens[role, person] = self.issuer.token(role, person)
        told = {"authorization": f"Bearer {self._tokens[role, person]}"}
        if body is not None:
            told["content-type"] = "application/json"
        raw = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.client.request(method, f"/pipeline/v1{path}", headers=told | dict(headers or {}), body=raw)

    async def ok(self, method: str, path: str, body: object = None, status: int | None = None, **options: Any) -> Any:
        """Call and return the JSON of a success."""
        answer = await self.call(method, path, body, **options)
        assert answer.ok if status is None else answer.status == status, (answer.status, answer.body)
        return json.loads(answer.body) if answer.body else None

    async def problem(self, method: str, path: str, body: object = None, status: int = 422, **options: Any) -> Any:
        """Call and return the problem; it has the members every problem has."""
        answer = await self.call(method, path, body, **options)
        assert answer.status == status, (answer.status, answer.body)
        assert answer.headers["content-type"] == "application/problem+json"
        found = json.loads(answer.body)
        assert found["status"] == status
        return found

    async def change(self, path: str, body: object, **options: Any) -> Any:
        return await self.ok("PATCH", path, body, headers={"if-match": "*"}, **options)

    async def deal(self, **changes: Any) -> Any:
        """Create a deal of the field-sales process."""
        body = {"name": "Pumps", "process": "field-sales", "owner": {"external_id": "ann"}}
        return await self.ok("POST", "/deals", {**body, **changes}, 201)

    async def move(self, deal: Mapping[str, Any], to_stage: str, **more: Any) -> Answer:
        options = {name: more.pop(name) for name in ("role", "person", "headers") if name in more}
        return await self.call("POST", f"/deals/{deal['id']}/moves", {"to_stage": to_stage, **more}, **options)

    async def do_tasks(self, deal: Mapping[str, Any]) -> None:
        """Do all open tasks of a deal."""
        tasks = await self.ok("GET", f"/tasks?deal_id={deal['id']}&status=open")
        for task in tasks["items"]:
            await self.change(f"/tasks/{task['id']}", {"status": "done", "result": {"outcome": "success"}})

    async def publish(self, **changes: Any) -> Any:
        return await self.ok("POST", "/processes", definition(**changes))

    async def tell_people(self) -> None:
        """Announce Rita's team of Ann and Ben, and Cid who is in another."""
        red, blue = uuid5(_NAMES, "red"), uuid5(_NAMES, "blue")
        events: list[Event] = [
            TeamChanged(version=1, recorded_at=NOW, team_id=red, external_id="red", manager_id=person_id("rita")),
            TeamChanged(version=1, recorded_at=NOW, team_id=blue, external_id="blue"),
        ]
        for name, team in (("rita", red), ("ann", red), ("ben", red), ("cid", blue)):
            events.append(
                PersonChanged(
                    version=1,
                    recorded_at=NOW,
                    person_id=person_id(name),
                    external_id=name,
                    role="manager" if name == "rita" else "rep",
                    memberships=(Membership(team, None, None),),
                )
            )
        await apply_messages(self.database, self.service.subscriptions[0], [encode(event) for event in events])

    async def sent(self) -> list[Message]:
        """Return what was written to the outbox since the last call, in order."""
        async with self.database.transaction() as tx:
            rows = await tx.execute(text("DELETE FROM outbox RETURNING id, topic, key, headers, value"))
            return [Message(row.topic, row.key, row.headers, row.value) for row in sorted(rows, key=lambda row: row.id)]

    async def announced(self) -> list[Any]:
        return [decode(message) for message in await self.sent()]

    async def rows(self, sql: str, **values: object) -> list[Any]:
        """Return the rows of a statement, read directly."""
        async with self.database.transaction() as tx:
            return list(await tx.execute(text(sql), values))

    async def run_job(self, name: str) -> None:
        [job] = [job for job in self.service.jobs if job.name == name]
        await job.run()
