"""One port for four services: the first path segment chooses the application."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.http_client import Answer, HttpClient
from shared.web.openapi import openapi_with_all
from shared.web.problems import not_found, problem_response


class Gateway:
    """The composite application: `/pipeline/...` goes to pipeline, and the root answers for all of them."""

    def __init__(self, apps: Mapping[str, FastAPI]) -> None:
        self._apps = apps
        self._root: Mapping[str, Any] = {
            "/": self._index,
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            "/openapi.json": self._openapi,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        app: ASGIApp | None = self._apps.get(scope["path"].split("/", 2)[1])
        if app is not None:
            await app(scope, receive, send)
            return
        request = Request(scope, receive)
        answer = self._root.get(scope["path"])
        response: Response = await answer(request) if answer else problem_response(request, not_found("path"))
        await response(scope, receive, send)

    async def _index(self, _request: Request) -> Response:
        return RedirectResponse("/pipeline/docs")

    async def _livez(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _readyz(self, _request: Request) -> Response:
        answers = await asyncio.gather(*(_ask_ready(app) for app in self._apps.values()))
        ready = all(answer.ok for answer in answers)
        services = {name: json.loads(answer.body) for name, answer in zip(self._apps, answers, strict=True)}
        return JSONResponse(
            {"status": "ready" if ready else "not_ready", "services": services}, status_code=200 if ready else 503
        )

    async def _metrics(self, _request: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    async def _openapi(self, _request: Request) -> Response:
        return JSONResponse(openapi_with_all(self._apps))


async def _ask_ready(app: FastAPI) -> Answer:
    client = HttpClient(base_url="http://gateway", app=app)
    try:
        return await client.request("GET", "/readyz")
    finally:
        await client.close()
