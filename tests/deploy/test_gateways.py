"""Both gateways choose a service by the first segment of a path, and answer themselves where there is none."""

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp, Message

from deploy.embedded.gateway import Gateway
from deploy.gateway.proxy import Proxy
from deploy.gateway.root import Root, first_segment
from shared.http_client import Answer, HttpFailure, RawClient


async def nobody(service: str, _path: str) -> Answer:
    raise HttpFailure(service)


@pytest.mark.parametrize(
    ("path", "segment"),
    [("/pipeline", "pipeline"), ("/pipeline/v1/deals", "pipeline"), ("/", ""), ("*", "*"), ("", ""), ("//kpi", "")],
)
def test_the_first_segment(path: str, segment: str) -> None:
    assert first_segment(path) == segment


@pytest.mark.parametrize(
    "gateway",
    [Gateway({"kpi": FastAPI()}), Proxy({}, RawClient(connect_seconds=1, silent_seconds=1), Root((), nobody))],
)
async def test_options_of_the_whole_server_name_no_service(gateway: ASGIApp) -> None:
    scope: dict[str, Any] = {
        "type": "http", "method": "OPTIONS", "path": "*", "raw_path": b"*", "query_string": b"", "headers": [],
        "scheme": "http", "server": ("127.0.0.1", 8080), "client": None, "http_version": "1.1", "root_path": "",
    }  # fmt: skip
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await gateway(scope, receive, send)
    assert sent[0]["status"] == 404
    assert (b"content-type", b"application/problem+json") in sent[0]["headers"]
