import json
from collections.abc import Sequence
from uuid import uuid4

from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.bus.consumer import apply_messages
from shared.bus.subscription import Delivery, Subscription
from shared.clock import utc_now
from shared.db.engine import Database
from shared.events.codec import encode
from shared.events.goals import PEOPLE, TeamChanged
from shared.http_client import HttpClient
from tests.shared.web.test_problems import problem, send


class Notebook:
    """A use case that writes what it gets, and cannot read one name until it is mended."""

    def __init__(self) -> None:
        self.mended = False

    async def write(self, tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            assert isinstance(delivery.event, TeamChanged)
            if delivery.event.external_id == "poison" and not self.mended:
                raise ValueError("cannot read this")
            await tx.execute(
                text("INSERT INTO thing VALUES ((SELECT count(*) + 1 FROM thing), 1, :name, '{}')"),
                {"name": delivery.event.external_id},
            )


async def test_dead_letters_are_listed_shown_and_replayed(client: HttpClient, app: FastAPI, database: Database) -> None:
    notebook = Notebook()
    subscription = Subscription("toy.people", (PEOPLE,), {TeamChanged: notebook.write})
    app.state.subscriptions = (subscription,)
    names = ["a", "poison", "b", "poison", "poison"]
    events = [TeamChanged(version=1, recorded_at=utc_now(), team_id=uuid4(), external_id=name) for name in names]
    await apply_messages(database, subscription, [encode(event) for event in events])

    first = await send(client, "GET", "/toy/v1/dead-letters?limit=2&group=toy.people")
    page = json.loads(first.body)
    assert len(page["items"]) == 2
    link = first.headers["link"].split(">")[0].removeprefix("<")
    page["items"] += json.loads((await send(client, "GET", link)).body)["items"]
    assert len({item["id"] for item in page["items"]}) == 3
    assert json.loads((await send(client, "GET", "/toy/v1/dead-letters?group=other")).body)["items"] == []

    letter = page["items"][0]["id"]
    shown = json.loads((await send(client, "GET", f"/toy/v1/dead-letters/{letter}")).body)
    assert (shown["group"], shown["type"], shown["replayed_at"]) == ("toy.people", "goals.team.changed.v1", None)
    assert "cannot read this" in shown["error"]
    assert json.loads(shown["value"])["external_id"] == "poison"

    replays = f"/toy/v1/dead-letters/{letter}/replays"
    answer = await send(client, "POST", replays)
    assert (answer.status, json.loads(answer.body)["result"]) == (201, "failed")
    notebook.mended = True
    assert json.loads((await send(client, "POST", replays)).body) == {"result": "applied", "error": None}
    assert json.loads((await send(client, "POST", replays)).body)["result"] == "duplicate"
    async with database.transaction() as tx:
        assert (await tx.execute(text("SELECT count(*) FROM thing"))).scalar_one() == 3
    problem(await send(client, "POST", f"/toy/v1/dead-letters/{uuid4()}/replays"), 404, "not_found")
    problem(await send(client, "GET", f"/toy/v1/dead-letters/{uuid4()}"), 404, "not_found")
