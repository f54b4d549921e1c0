"""What happened elsewhere, over public HTTP: signed webhooks and files, told twice, late, wrong or without a date."""

import csv
import io
import json
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from secrets import token_bytes
from typing import Any
from uuid import uuid4

import httpx
import pytest
from standardwebhooks import Webhook

from tests.embedded_system import System
from tests.flows.company import hire
from tests.system_caller import Caller, Json, until

pytestmark = pytest.mark.slow

MAPPING: Json = {
    "process": "free",
    "external_id": "id",
    "owner": "owner",
    "amount": {"column": "amount", "currency": "CNY"},
    "stages": [
        {"stage": "lead", "at": "lead_on"},
        {"stage": "offer", "at": "offer_on"},
        {"stage": {"column": "end", "values": {"Won": "won", "Lost": "lost"}}, "at": "end_on"},
    ],
    "current_stage": {"column": "end", "values": {"Won": "won", "Lost": "lost", "Open": "offer"}},
    "lost_reason": "why",
}
COLUMNS = ("id", "owner", "amount", "lead_on", "offer_on", "end", "end_on", "why")


async def test_a_signed_webhook_creates_and_moves_a_deal_that_kpi_counts(system: System, admin: Caller) -> None:
    seller, source, key = await hire(system, admin), f"crm-{uuid4().hex[:8]}", token_bytes(32)
    settings = {"secret": f"whsec_{b64encode(key).decode()}", "mapping": {"process": "free"}}
    assert (await admin.ask("PUT", f"/pipeline/v1/sources/{source}", settings)).status_code == 201
    news: Json = {"external_id": "opp-1", "owner": seller, "amount": {"amount": "77.70", "currency": "CNY"}}
    scope = f"person:{seller}"

    assert (await send(admin, source, Webhook(key), "m1", {**news, "stage": "lead"})).status_code == 202
    (deal,) = await until(lambda: deals_of(admin, seller))
    assert (deal["stage"]["code"], deal["external_id"], deal["source"]) == ("lead", "opp-1", source)
    for _ in range(2):
        assert (await send(admin, source, Webhook(key), "m2", {**news, "stage": "won"})).status_code == 202
    (won,) = await until(lambda: deals_of(admin, seller, status="won"))
    assert won["id"] == deal["id"]
    token = f"deal:{deal['id']}@{won['version']}"
    assert (await admin.value("won_amount", scope=scope, token=token))["value"] == "77.70"
    assert (await admin.value("won_count", scope=scope))["value"] == "1"

    forged = await send(admin, source, Webhook(token_bytes(32)), "m3", {**news, "stage": "lost"})
    assert (forged.status_code, forged.json()["code"]) == (401, "signature_invalid")
    assert (await send(admin, source, Webhook(key), "m4", {**news, "stage": "nowhere"})).status_code == 202
    (waiting,) = await until(lambda: admin.everything("/pipeline/v1/webhooks", source=source, status="quarantined"))
    assert (waiting["message_id"], waiting["reasons"][0]["code"]) == ("m4", "unknown_stage")
    history = await admin.everything(f"/pipeline/v1/deals/{deal['id']}/history")
    assert [(one["type"], one["to"]) for one in history] == [("created", "lead"), ("moved", "won")]


async def send(caller: Caller, source: str, key: Webhook, message_id: str, data: Json) -> httpx.Response:
    """Post a message as the sender's own library signs it; nobody's token goes with it."""
    now = datetime.now(UTC)
    body = json.dumps({"type": "deal.moved", "timestamp": now.isoformat(), "data": data})
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": key.sign(message_id, now, body),
        "content-type": "application/json",
        "authorization": "",
    }
    return await caller.http.post(f"/pipeline/v1/webhooks/{source}", content=body, headers=headers)


async def deals_of(caller: Caller, owner: str, **filters: str) -> list[Json]:
    return await caller.everything("/pipeline/v1/deals", owner_id=owner, **filters)


def table(rows: Sequence[Sequence[str]]) -> str:
    file = io.StringIO()
    csv.writer(file).writerows([COLUMNS, *rows])
    return file.getvalue()


async def test_a_file_told_twice_changes_nothing(system: System, admin: Caller) -> None:
    seller, tag = await hire(system, admin), uuid4().hex[:6]
    rows = [
        (f"{tag}-1", seller, "100.00", "2024-02-03", "2024-02-10", "Won", "2024-03-01", ""),
        (f"{tag}-2", seller, "200.00", "2024-02-04", "", "Lost", "2024-03-02", "price"),
        (f"{tag}-3", seller, "300.00", "2024-02-05", "2024-02-20", "Open", "", ""),
        (f"{tag}-4", seller, "not money", "2024-02-05", "2024-02-20", "Open", "", ""),
    ]
    first = await admin.imported("deals", table(rows), MAPPING)
    assert counts(first) == {"rows": 4, "created": 3, "updated": 0, "unchanged": 0, "rejected": 1}
    errors = list(
        csv.DictReader(io.StringIO((await admin.http.get(f"/pipeline/v1/imports/{first['id']}/errors")).text))
    )
    assert [(error["line"], error["column"]) for error in errors] == [("5", "amount")]
    before = await deals_of(admin, seller)
    events = await announced(system, before)

    second = await admin.imported("deals", table(rows), MAPPING)
    assert counts(second) == {"rows": 4, "created": 0, "updated": 0, "unchanged": 3, "rejected": 1}
    assert await deals_of(admin, seller) == before
    assert await announced(system, before) == events
    value = await admin.value(
        "won_amount", scope=f"person:{seller}", grain="month", from_="2024-03-01", to="2024-04-01"
    )
    assert (value["value"], value["sample_size"]) == ("100.00", 1)


def counts(state: Json) -> Json:
    return {name: state[name] for name in ("rows", "created", "updated", "unchanged", "rejected")}


async def announced(system: System, deals: list[Json]) -> list[Any]:
    """Every event that was ever written about these deals: in their history, and on the way or on the bus."""
    ids = [deal["id"] for deal in deals]
    keys = [f"deal:{deal_id}" for deal_id in ids]

    async def sent() -> bool:
        return await system.rows("pipeline", "SELECT count(*) FROM outbox WHERE key = ANY($1)", keys) == [(0,)]

    await until(sent)
    history = "SELECT deal_id::text, version FROM deal_history WHERE deal_id::text = ANY($1) ORDER BY 1, 2"
    log = "SELECT key, headers::jsonb->>'ce_id', count(*) FROM bus_log WHERE key = ANY($1) GROUP BY 1, 2 ORDER BY 1, 2"
    return [await system.rows("pipeline", history, ids), await system.rows("bus", log, keys)]


async def test_what_has_no_date_is_counted_and_dated_nowhere(system: System, admin: Caller) -> None:
    seller, tag = await hire(system, admin), uuid4().hex[:6]
    rows = [
        (f"{tag}-1", seller, "10.00", "2024-05-03", "", "Won", "2024-05-20", ""),
        (f"{tag}-2", seller, "20.00", "", "", "Won", "", ""),
        (f"{tag}-3", seller, "40.00", "", "", "Open", "", ""),
        (f"{tag}-4", seller, "80.00", "", "", "Lost", "2024-05-21", "price"),
    ]
    state = await admin.imported("deals", table(rows), MAPPING)
    told = await deals_of(admin, seller)
    entries = [
        entry
        for deal in told
        for entry in await admin.everything(f"/pipeline/v1/deals/{deal['id']}/history")
        if entry["to"] is not None
    ]
    assert state["undated"] == sum(entry["at"] is None for entry in entries) > 0
    newest = max(told, key=lambda deal: deal["updated_at"])
    token = f"deal:{newest['id']}@{newest['version']}"
    everything: Json = {"scope": f"person:{seller}", "grain": "year", "from_": "2000-01-01", "to": "2040-01-01"}
    wanted = {"won_count": ("1", 1), "won_amount": ("10.00", 1), "deals_created": ("1", 3), "lost_count": ("1", 0)}
    for kpi, (dated, undated) in wanted.items():
        answer = await admin.get("/kpi/v1/values", kpi=kpi, consistency_token=token, **everything)
        assert answer["counted"] is True
        assert sum(float(item["value"]) for item in answer["items"]) == float(dated), kpi
        assert {item["undated"] for item in answer["items"]} == {undated}, kpi
        assert [item["period"]["start"] for item in answer["items"] if float(item["value"])] == ["2024-01-01"], kpi
