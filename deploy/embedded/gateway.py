"""One port for four services: the first path segment chooses the application."""

from collections.abc import Mapping

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from deploy.gateway.root import Root, first_segment
from shared.http_client import Answer, HttpClient


class Gateway:
    """The composite application: `/pipeline/...` goes to pipeline, and the root answers for all of them."""

    def __init__(self, apps: Mapping[str, FastAPI]) -> None:
        self._apps = apps
        self._root = Root(apps, self._ask)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        app: ASGIApp | None = self._apps.get(first_segment(scope["path"]))
        await (app or self._root)(scope, receive, send)

    async def _ask(self, service: str, path: str) -> Answer:
        client = HttpClient(base_url="http://gateway", app=self._apps[service])
        try:
            return await client.request("GET", path)
        finally:
            await client.close()
