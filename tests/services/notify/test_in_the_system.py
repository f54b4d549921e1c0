"""Notify among its neighbours: a move over HTTP becomes a signed alert with names, under one correlation id."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from deploy.embedded.assembly import assembled
from shared.auth.development_issuer import DevelopmentIssuer
from shared.bus.postgres import PostgresBus
from shared.db.engine import Database
from shared.runtime.run import background
from tests.services.notify.receiver import Receiver

SERVICES = ("pipeline", "kpi", "goals", "notify")
FREE = {
    "code": "free",
    "name": {"zh": "自由流程", "en": "Free"},
    "moves": "any",
    "stages": [
        {"code": "talk", "name": {"zh": "洽谈", "en": "Talks"}, "kind": "open"},
        {"code": "signed", "name": {"zh": "签约", "en": "Signed"}, "kind": "won"},
        {"code": "gone", "name": {"zh": "流失", "en": "Gone"}, "kind": "lost"},
    ],
}


@pytest.fixture
async def system(
    service_database: Callable[[str], str], empty_database: Callable[[], str]
) -> AsyncIterator[tuple[DevelopmentIssuer, httpx.AsyncClient]]:
    """All four services, running in this process."""
    urls = {name: service_database(name) for name in SERVICES} | {"bus": empty_database()}
    bus = PostgresBus(Database(urls["bus"], "prepare", pool_size=1))
    await bus.prepare()
    await bus.close()
    issuer = DevelopmentIssuer.create()
    async with assembled(urls.__getitem__, urls["bus"], issuer, {"webhook_allow_private": True}) as assembly:
        token = {"authorization": f"Bearer {issuer.token('admin')}"}
        transport = httpx.ASGITransport(assembly.gateway)
        async with (
            background(list(assembly.services.values()), assembly.bus, assembly.peers),
            httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=token, timeout=20) as client,
        ):
            yield issuer, client


async def post(client: httpx.AsyncClient, path: str, body: Any, **headers: str) -> dict[str, Any]:
    answer = await client.post(path, json=body, headers=headers)
    assert answer.status_code < 300, (path, answer.text)
    made: dict[str, Any] = answer.json()
    return made


async def test_a_move_becomes_a_signed_alert_with_names(
    system: tuple[DevelopmentIssuer, httpx.AsyncClient], receiver: Receiver
) -> None:
    issuer, client = system
    await post(client, "/pipeline/v1/processes", FREE)
    await post(client, "/goals/v1/teams", {"external_id": "east", "name": "华东团队"})
    seller = {"external_id": "zhang", "name": "张伟", "team_id": "east", "role": "rep", "ability": 70}
    await post(client, "/goals/v1/people", {**seller, "experience_months": 24, "availability": "1.00"})
    customer = await post(client, "/pipeline/v1/customers", {"name": "Harbour Works"})
    channel = await post(client, "/notify/v1/channels", {"kind": "webhook", "url": receiver.url})
    rules = {
        "won": {"event": "deal_won", "where": {"scope": "team:east"}},
        "amount": {"kpi": "won_amount", "scope": "team:east", "grain": "month", "op": "ge", "threshold": "10.00"},
    }
    for name, when in rules.items():
        body = {"name": name, "when": when, "channels": [channel["id"]], "to": "owner"}
        await post(client, "/notify/v1/rules", body)
    typo = {"name": "x", "when": {**rules["amount"], "kpi": "won_amout"}, "channels": [str(uuid4())]}
    refused = await client.post("/notify/v1/rules", json=typo)
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/channels/0", "/when/kpi"]
    deal = await post(
        client, "/pipeline/v1/deals",
        {"name": "Crane upgrade", "process": "free", "owner": {"external_id": "zhang"},
         "customer_id": customer["id"], "amount": {"amount": "88.00", "currency": "CNY"}},
    )  # fmt: skip
    began = time.monotonic()
    headers = {"x-request-id": "the-one-request"}
    await post(client, f"/pipeline/v1/deals/{deal['id']}/moves", {"to_stage": "signed"}, **headers)
    requests = await receiver.wait_for(2, timeout=15)
    took = time.monotonic() - began
    told: dict[str, Any] = {}
    for request in requests:
        document: Any = request.verified(channel["secret"])
        told[document["data"]["rule"]["name"]] = document["data"]
    assert told.keys() == {"won", "amount"}
    assert {data["correlation_id"] for data in told.values()} == {"the-one-request"}
    assert told["won"]["title"] == {"zh": "商机「Crane upgrade」赢单", "en": "Deal “Crane upgrade” was won"}
    assert "Harbour Works" in told["won"]["text"]["en"]
    assert "张伟" in told["won"]["text"]["zh"]
    assert "签约" in told["won"]["text"]["zh"]
    assert told["amount"]["subject"]["value"] == "88.00"
    assert "华东团队" in told["amount"]["title"]["zh"]
    assert "88.00 CNY" in told["amount"]["title"]["en"]
    assert took < 10
    rep = {"authorization": f"Bearer {issuer.token('rep', 'zhang')}"}
    answer = await client.get("/notify/v1/inbox", headers=rep)
    assert [item["title"]["zh"] for item in answer.json()["items"]] == ["商机「Crane upgrade」赢单"]
