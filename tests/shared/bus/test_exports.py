"""The owner's export over HTTP, as the services serve it."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import pytest

from shared.bus.exports import HttpExport
from shared.bus.subscription import ExportUnavailable
from shared.events.codec import Message, decode, encode
from shared.events.pipeline import DEALS
from shared.http_client import HttpClient
from tests.faults.toy import deal_changed, deal_id

MESSAGES = [encode(deal_changed(deal_id(number), version, version, 0)) for number in range(5) for version in (1, 2)]


def item(message: Message) -> dict[str, Any]:
    return {
        "topic": message.topic, "key": message.key, "headers": dict(message.headers), "value": json.loads(message.value),
    }  # fmt: skip


class Owner:
    """An owner's route: two streams a page, its cursor is where to go on."""

    def __init__(self, status: int = 200, body: bytes | None = None) -> None:
        self.status, self.body = status, body
        self.asked: list[tuple[str, Mapping[str, list[str]]]] = []

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        query = parse_qs(scope["query_string"].decode())
        self.asked.append((scope["path"], query))
        body = json.dumps(self.answer(query)).encode() if self.body is None else self.body
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    def answer(self, query: Mapping[str, list[str]]) -> dict[str, Any]:
        if "stream" in query:
            version = int(query["after_version"][0])
            found = [one for one in MESSAGES if one.key == query["stream"][0]][version:]
            return {"items": [item(one) for one in found], "next_cursor": None}
        start = int(query.get("cursor", ["0"])[0])
        following = str(start + 4) if start + 4 < len(MESSAGES) else None
        return {"items": [item(one) for one in MESSAGES[start : start + 4]], "next_cursor": following}


def export(owner: Any) -> HttpExport:
    return HttpExport({"pipeline": HttpClient(base_url="http://pipeline", app=owner)})


async def test_all_pages_come_one_after_the_other() -> None:
    owner = Owner()
    pages = [page async for page in export(owner).pages(DEALS)]
    assert [len(page) for page in pages] == [4, 4, 2]
    got = [message for page in pages for message in page]
    assert [(message.topic, message.key, message.headers) for message in got] == [
        (message.topic, message.key, message.headers) for message in MESSAGES
    ]
    assert [decode(message) for message in got] == [decode(message) for message in MESSAGES]
    assert {path for path, _ in owner.asked} == {f"/pipeline/v1/exports/{DEALS}"}


async def test_one_stream_behind_a_version() -> None:
    stream = f"deal:{deal_id(3)}"
    (message,) = await export(Owner()).after(DEALS, stream, 1)
    assert (message.key, message.headers["ce_sequence"]) == (stream, "2")


@pytest.mark.parametrize("owner", [Owner(503), Owner(404), Owner(200, b"<html>"), Owner(200, b'{"items": 1}')])
async def test_an_owner_who_does_not_export_is_asked_again_later(owner: Owner) -> None:
    with pytest.raises(ExportUnavailable):
        await export(owner).after(DEALS, "deal:1", 0)


async def test_an_owner_who_is_not_there_is_asked_again_later() -> None:
    peer = HttpClient(base_url="http://127.0.0.1:1")
    with pytest.raises(ExportUnavailable):
        await HttpExport({"pipeline": peer}).after(DEALS, "deal:1", 0)
    await peer.close()
