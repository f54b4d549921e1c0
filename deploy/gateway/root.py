"""What the one port answers itself, in every mode: /, /livez, /readyz, /metrics and /openapi.json."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from shared.http_client import Answer, HttpFailure
from shared.metrics import EXPOSITION_TYPE, exposition
from shared.web.openapi import merged_documents
from shared.web.problems import Problem, not_found, problem_response

RETRY_AFTER_SECONDS = 2

# Sends GET of a path to a service; raises HttpFailure when no instance of it answers.
Ask = Callable[[str, str], Awaitable[Answer]]
Facts = Mapping[str, Any]


def _nothing(_service: str) -> Facts:
    return {}


class Root:
    """The root's answers for `services`, asked by `ask`; `facts` adds what is known of a service to /readyz."""

    def __init__(self, services: Collection[str], ask: Ask, facts: Callable[[str], Facts] = _nothing) -> None:
        self.draining = False
        self._services = services
        self._ask = ask
        self._facts = facts
        self._answers: Mapping[str, Callable[[Request], Awaitable[Response]]] = {
            "/": self._index,
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            "/openapi.json": self._openapi,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        answer = self._answers.get(scope["path"])
        response = await answer(request) if answer else problem_response(request, not_found("path"))
        await response(scope, receive, send)

    async def _index(self, _request: Request) -> Response:
        return RedirectResponse("/pipeline/docs")

    async def _livez(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _readyz(self, _request: Request) -> Response:
        told = await asyncio.gather(*(self._readiness_of(service) for service in self._services))
        services = dict(zip(self._services, told, strict=True))
        found = {service["status"] for service in told}
        status = "draining" if self.draining else _worst(found)
        return JSONResponse(
            {"status": status, "services": services},
            200 if status in ("ready", "degraded") else 503,
            {"cache-control": "no-store"},
        )

    async def _readiness_of(self, service: str) -> dict[str, Any]:
        try:
            answer = await self._ask(service, "/readyz")
            said = {"status": "ready" if answer.ok else "not_ready", **json.loads(answer.body)}
        except (HttpFailure, ValueError, TypeError) as error:
            said = {"status": "not_ready", "checks": {"reached": {"ok": False, "reason": type(error).__name__}}}
        return {**said, **self._facts(service)}

    async def _metrics(self, _request: Request) -> Response:
        return Response(exposition(), media_type=EXPOSITION_TYPE)

    async def _openapi(self, request: Request) -> Response:
        try:
            answers = {name: await self._ask(name, f"/{name}/openapi.json") for name in self._services}
        except HttpFailure:
            answers = {}
        if not answers or not all(answer.ok for answer in answers.values()):
            return problem_response(request, nobody_there())
        return JSONResponse(merged_documents({name: json.loads(answer.body) for name, answer in answers.items()}))


def first_segment(path: str) -> str:
    """Return what names the service in a request's path; `*` (as in OPTIONS *) and `/` name none."""
    return path.removeprefix("/").split("/", 1)[0]


def nobody_there() -> Problem:
    """503: no instance of the service can be reached."""
    return Problem(503, "upstream_unavailable", headers={"retry-after": str(RETRY_AFTER_SECONDS)})


def _worst(found: set[str]) -> str:
    if found <= {"ready"}:
        return "ready"
    return "degraded" if found <= {"ready", "degraded"} else "not_ready"
