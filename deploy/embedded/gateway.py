"""One port for four services: the first path segment chooses the application."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from shared.web.openapi import openapi_with_all
from shared.web.problems import not_found, problem_response
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.http_client import HttpClient


class Gateway:
    """The composite application: `/pipeline/...` goes to pipeline, and the root answers for all of them."""

    def __init__(self, apps: Mapping[str, FastAPI]) -> None:
        self._apps = apps
        self._clients = {name: HttpClient(base_url="http://gateway", app=app) for name, app in apps.items()}
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
        answers = await asyncio.gather(*(client.request("GET", "/readyz") for client in self._clients.values()))
        ready = all(answer.ok for answer in answers)
        services = {name: json.loads(answer.body) for name, answer in zip(self._clients, answers, strict=True)}
        return JSONResponse(
            {"status": "ready" if ready else "not_ready", "services": services}, status_code=200 if ready else 503
        )

    async def _metrics(self, _request: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    async def _openapi(self, _request: Request) -> Response:
        return JSONResponse(openapi_with_all(self._apps))
