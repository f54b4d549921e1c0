"""The real process dies at a named place around a commit, a send, an acknowledgement (F1, F2, F5); the caller asks again."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from shared.db.faultpoints import KILLED
from tests.embedded_invariants import at_rest
from tests.embedded_system import System
from tests.flows.company import process, stage
from tests.postgres_cluster import temporary_directory
from tests.services.notify.receiver import Receiver, receiving
from tests.system_caller import Caller, Json, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

PROCESS = process("crash", stage("open"))
UNCOMMITTED = "moves.written"
# Where the process dies when it comes there for the first time after its start, and how often the bus then has the event
# of the move: from, to. A relay that dies between the acknowledgement and its own deletion sends again.
PLACES = {
    UNCOMMITTED: (1, 1),
    "moves.committed": (1, 1),
    "relay.sent": (2, 2),
    "kpi.counted": (1, 2),
    "kpi.consumed": (1, 2),
    "notify.sent": (1, 2),
}
_COPIES = "SELECT count(*) FROM bus_log WHERE key = $1 AND headers::jsonb->>'ce_type' = 'pipeline.deal.moved.v1'"


@dataclass(frozen=True)
class Prepared:
    """A system at rest, not running; for each place a deal, and a rule that tells the receiver when it is won."""

    system: System
    receiver: Receiver
    channel: Json
    deals: dict[str, str]
    rules: dict[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prepared() -> AsyncIterator[Prepared]:
    with temporary_directory() as directory:
        system = System(directory)
        try:
            async with receiving() as receiver:
                yield await prepare(system, receiver)
        finally:
            system.end()


async def prepare(system: System, receiver: Receiver) -> Prepared:
    await system.start()
    deals, rules = {}, {}
    async with system.caller() as admin:
        await admin.post("/pipeline/v1/processes", PROCESS)
        channel = await admin.post("/notify/v1/channels", {"kind": "webhook", "url": receiver.url})
        for place in PLACES:
            deal = {"name": place, "process": "crash", "owner": {"external_id": place}, "product": place}
            deals[place] = (await admin.post("/pipeline/v1/deals", deal))["id"]
            when = {"event": "deal_won", "where": {"product": place}}
            rule = {"name": place, "when": when, "channels": [channel["id"]]}
            rules[place] = (await admin.post("/notify/v1/rules", rule))["id"]
    await at_rest(system)
    assert await system.stop() == 0
    return Prepared(system, receiver, channel, deals, rules)


@pytest.mark.parametrize("place", PLACES)
async def test_a_move_is_made_once_wherever_the_process_dies(prepared: Prepared, place: str) -> None:
    system, deal, key = prepared.system, prepared.deals[place], str(uuid4())
    moves = f"/pipeline/v1/deals/{deal}/moves"
    await system.start(FAULTPOINT=f"{place}:1")
    async with system.caller() as admin:
        first = await asked(admin, moves, key)
        assert await system.ended() == KILLED
        if place.startswith("moves."):
            assert first is None
        await system.start()
        again = await admin.ask("POST", moves, {"to_stage": "won"}, idempotency_key=key)
        assert again.status_code == 201, again.text
        assert (again.headers.get("idempotency-replayed") == "true") is (place != UNCOMMITTED)
        assert first is None or again.json() == first
        token = again.json()["consistency_token"]
        assert (await admin.value("won_count", scope=f"person:{place}", token=token))["value"] == "1"
        history = await admin.everything(f"/pipeline/v1/deals/{deal}/history")
        assert [version["type"] for version in history] == ["created", "moved"]
        await alerted_once(admin, prepared, place)
    await at_rest(system)
    least, most = PLACES[place]
    ((copies,),) = await system.rows("bus", _COPIES, f"deal:{deal}")
    assert least <= copies <= most
    assert await system.stop() == 0


async def asked(admin: Caller, moves: str, key: str) -> Json | None:
    """The first answer, when there is one before the process dies."""
    try:
        answer = await admin.ask("POST", moves, {"to_stage": "won"}, idempotency_key=key)
    except httpx.HTTPError:
        return None
    assert answer.status_code == 201, answer.text
    document: Json = answer.json()
    return document


async def alerted_once(admin: Caller, prepared: Prepared, place: str) -> None:
    """One alert and one delivery, which may have been sent more than once but always under the same id."""

    async def fired() -> list[Json]:
        return await admin.everything("/notify/v1/alerts", rule_id=prepared.rules[place])

    (alert,) = await until(fired)

    async def delivered() -> list[Json]:
        return await admin.everything("/notify/v1/deliveries", alert_id=alert["id"], state="sent")

    (delivery,) = await until(delivered, 30)
    assert delivery["channel_id"] == prepared.channel["id"]
    documents: list[Any] = [request.verified(prepared.channel["secret"]) for request in prepared.receiver.requests]
    told = [
        request.headers["webhook-id"]
        for request, document in zip(prepared.receiver.requests, documents, strict=True)
        if document["data"]["alert_id"] == alert["id"]
    ]
    assert len(told) >= (2 if place == "notify.sent" else 1)
    assert set(told) == {delivery["webhook_id"]}
