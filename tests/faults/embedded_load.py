"""Concurrent clients of the running system: each asks under an Idempotency-Key, again and again until it is answered."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import uuid4

import httpx

from tests.embedded_system import System
from tests.flows.company import process, stage
from tests.services.notify.receiver import Receiver
from tests.system_caller import Caller, Json, until

CLIENTS = 12
DEALS_EACH = 4
SHARED = 6
STAGES = ("first", "second", "third", "won", "lost")
PROCESS = process("load", *(stage(code) for code in STAGES[:3]))
# What an outage may look like to a caller; anything else is a fault of ours.
COME_AGAIN = frozenset({503})
ANSWERED = frozenset({201, 409})

_MOVES = """
    SELECT deal_id::text, version, convert_from(value, 'UTF8')::jsonb->>'move_id',
           convert_from(value, 'UTF8')::jsonb->'deal'->'stage'->>'code'
    FROM deal_history WHERE headers::jsonb->>'ce_type' = 'pipeline.deal.moved.v1'
                        AND convert_from(value, 'UTF8')::jsonb->'deal'->>'process' = 'load'
"""
_WON = "SELECT count(*) FROM deal WHERE process = 'load' AND status = 'won'"


@dataclass(frozen=True)
class Moved:
    """An acknowledged move."""

    deal: str
    version: int
    move: str
    to_stage: str


class Load:
    """Moves deals of its own process, and remembers every answer."""

    come_again = COME_AGAIN

    def __init__(self, system: System, receiver: Receiver, seed: int) -> None:
        self.system = system
        self.moved: list[Moved] = []
        self.statuses: Counter[int | str] = Counter()
        self._receiver = receiver
        self._seed = seed
        self._over = False
        self._goal = self._rule = ""
        self._secret = ""
        self._deals: list[str] = []

    async def prepare(self) -> None:
        """Make the process, the deals, a goal, and a rule that tells the receiver of every deal won."""
        async with self.system.caller() as admin:
            await admin.post("/pipeline/v1/processes", PROCESS)
            for number in range(CLIENTS * DEALS_EACH + SHARED):
                body = {"name": f"Load {number}", "process": "load", "owner": {"external_id": f"owner-{number % 5}"},
                        "amount": {"amount": f"{100 + number}.00", "currency": "CNY"}}  # fmt: skip
                self._deals.append((await admin.post("/pipeline/v1/deals", body))["id"])
            begin = (await admin.value("won_count", grain="quarter"))["period"]["start"]
            goal = {"title": "Won under load", "kpi": "won_count", "target": "1000000",
                    "period": {"grain": "quarter", "start": begin}}  # fmt: skip
            self._goal = (await admin.post("/goals/v1/goals", goal))["id"]
            channel = await admin.post("/notify/v1/channels", {"kind": "webhook", "url": self._receiver.url})
            self._secret = channel["secret"]
            rule = {"name": "won", "when": {"event": "deal_won", "where": {"process": "load"}},
                    "channels": [channel["id"]], "to": "owner"}  # fmt: skip
            self._rule = (await admin.post("/notify/v1/rules", rule))["id"]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All clients ask within the block; at its end each of them waits for its last answer."""
        self._over = False
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(self._client(number))
            group.create_task(self._reader())
            try:
                yield
            finally:
                self._over = True

    async def _client(self, number: int) -> None:
        chance = Random(f"{self._seed} client {number} {len(self.moved)}")
        own = self._deals[SHARED + number * DEALS_EACH :][:DEALS_EACH]
        seen: dict[str, int] = {}
        async with self.system.caller() as caller:
            while not self._over:
                deal = chance.choice(own if chance.random() < 0.8 else self._deals[:SHARED])
                to_stage = chance.choice(STAGES) if chance.random() < 0.5 else chance.choice(STAGES[:3])
                answer = await self._until_answered(caller, deal, {"to_stage": to_stage, "lost_reason": "load"})
                if answer is None:
                    continue
                version = int(answer["move"]["version"])
                assert version > seen.get(deal, 0), f"{deal} went back from {seen[deal]} to {version}"
                seen[deal] = version
                self.moved.append(Moved(deal, version, answer["move"]["id"], answer["move"]["to_stage"]))

    async def _until_answered(self, caller: Caller, deal: str, wanted: Json) -> Json | None:
        """Ask under one key until there is an answer; None when it is a refusal."""
        key = str(uuid4())
        while True:
            try:
                answer = await caller.ask("POST", f"/pipeline/v1/deals/{deal}/moves", wanted, idempotency_key=key)
            except httpx.HTTPError as error:
                self.statuses[type(error).__name__] += 1
                await asyncio.sleep(0.1)
                continue
            self.statuses[answer.status_code] += 1
            if answer.status_code in ANSWERED and "idempotency_in_progress" not in answer.text:
                document: Json = answer.json()
                return document if answer.status_code == 201 else None
            assert answer.status_code in self.come_again | {409}, answer.text
            await asyncio.sleep(0.05)

    async def _reader(self) -> None:
        """What is read never goes back, whatever dies meanwhile: nobody is uncounted here."""
        entries = 0
        async with self.system.caller() as caller:
            while not self._over:
                with contextlib.suppress(httpx.HTTPError):
                    answer = await caller.http.get(
                        "/kpi/v1/values", params={"kpi": "stage_entries", "scope": "org", "process": "load"}
                    )
                    assert answer.status_code in {200, *self.come_again}, answer.text
                    if answer.status_code == 200:
                        now = int(answer.json()["items"][0]["value"])
                        assert now >= entries, f"entries went back from {entries} to {now}"
                        entries = now
                await asyncio.sleep(0.1)

    async def progress(self, moves: int = 20, within: float = 30) -> None:
        """Wait until so many more moves are acknowledged."""
        wanted = len(self.moved) + moves

        async def come() -> bool:
            return len(self.moved) >= wanted

        await until(come, within)

    async def accounted(self, within: float = 60) -> None:
        """Every acknowledged move is in history exactly once, and nothing else is; each win has one alert."""
        history = [Moved(*row) for row in await self.system.rows("pipeline", _MOVES)]
        assert Counter(history) == Counter(self.moved)
        assert len({move.move for move in history}) == len(history)
        won = [move for move in history if move.to_stage == "won"]
        async with self.system.caller() as admin:
            await self._alerted(admin, won, within)
            count = await admin.value("won_count", grain="quarter")
            goal = await until(lambda: self._goal_at(admin, count["value"]))
            assert goal["result"] == count["value"]
        ((present,),) = await self.system.rows("pipeline", _WON)
        assert count["value"] == str(present)

    async def _goal_at(self, admin: Caller, result: str) -> Json | None:
        goal: Json = await admin.get(f"/goals/v1/goals/{self._goal}")
        return goal if goal["result"] == result else None

    async def _alerted(self, admin: Caller, won: list[Moved], within: float) -> None:
        wanted = Counter((f"deal:{move.deal}", move.version) for move in won)

        async def deliveries() -> list[Json] | None:
            found = await admin.everything("/notify/v1/deliveries")
            return found if all(each["state"] == "sent" for each in found) else None

        sent = await until(deliveries, within)
        alerts = await admin.everything("/notify/v1/alerts", rule_id=self._rule)
        assert Counter((one["subject"]["stream"], one["subject"]["version"]) for one in alerts) == wanted
        assert Counter(each["alert_id"] for each in sent if each["kind"] == "webhook") == Counter(
            one["id"] for one in alerts
        )
        ids: dict[str, set[str]] = {}
        for request in self._receiver.requests:
            document: Any = request.verified(self._secret)
            ids.setdefault(document["data"]["alert_id"], set()).add(request.headers["webhook-id"])
        assert ids.keys() == {one["id"] for one in alerts}
        assert {len(each) for each in ids.values()} <= {1}
