"""What surrounds every request, as two plain ASGI layers: they cost microseconds, and streams pass through them."""

import re
from collections.abc import Mapping
from functools import cache
from time import perf_counter

from prometheus_client import Histogram
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.logging import log_access
from shared.metrics import HTTP_DURATION
from shared.tracing import Cause, caused_by, new_cause
from shared.web.failures import problem_of
from shared.web.problems import not_found, problem_response

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")


class RequestMiddleware:
    """Request id and cause, 500 as a problem, HEAD as GET without a body, one access line and one measurement."""

    def __init__(self, app: ASGIApp, service: str) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        cause = cause_of(scope)
        method: str = scope["method"]
        exchange = _Exchange(send, cause.correlation_id.encode(), without_body=method == "HEAD")
        if method == "HEAD":
            scope = dict(scope, method="GET")
        with caused_by(cause):
            try:
                await self._answer(scope, receive, exchange)
            finally:
                self._account(scope, method, exchange.status, perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, exchange: "_Exchange") -> None:
        try:
            if "\x00" in scope["path"]:
                # No name holds NUL, and PostgreSQL would refuse to look for one.
                await problem_response(Request(scope), not_found())(scope, receive, exchange.send)
            else:
                await self._app(scope, receive, exchange.send)
        except Exception as error:  # noqa: BLE001 - the boundary of a request: every exception becomes an answer
            problem = problem_of(error)
            # Of an answer that has begun only the end can be left out: the server then cuts the connection.
            if not exchange.status:
                await problem_response(Request(scope), problem)(scope, receive, exchange.send)

    def _account(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        route = _template(scope)
        duration_of(self._service, method if method in METHODS else "other", route, status).observe(seconds)
        principal = scope.get("principal")
        log_access(
            {
                "service": self._service,
                "method": method,
                "path": scope["path"],
                "route": route,
                "status": status,
                "milliseconds": round(seconds * 1000, 2),
                "principal": principal.subject if principal else None,
            }
        )


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@cache
def duration_of(service: str, method: str, route: str, status: int) -> Histogram:
    """Return where the time of such requests is counted; `route` is a template, never a path."""
    return HTTP_DURATION.labels(service, method, route, status)


def _template(scope: Scope) -> str:
    """Return the route's template, never the path: ids must not become labels."""
    told: str | None = scope.get("route_template")
    if told is not None:
        return told
    included: Mapping[str, object] = scope.get("fastapi", {})
    route = included.get("effective_route_context") or scope.get("route")
    found: str | None = getattr(route, "path_format", None)
    return found or ("other" if "endpoint" in scope else "unmatched")


def cause_of(scope: Scope) -> Cause:
    """Return what causes a request: X-Request-ID and traceparent where they are well formed, otherwise new ones."""
    request_id = traceparent = None
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            request_id = value.decode()
        elif name == b"traceparent":
            traceparent = value.decode("latin-1")
    return new_cause(request_id, traceparent)


class _Exchange:
    """One answer on its way out."""

    def __init__(self, send: Send, request_id: bytes, *, without_body: bool) -> None:
        self.status = 0
        self._send = send
        self._request_id = request_id
        self._without_body = without_body

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", self._request_id)]
            await self._send(message)
            if self._without_body:
                await self._send({"type": "http.response.body", "body": b""})
        elif not self._without_body:
            await self._send(message)


class BodyTooLarge(HTTPException):
    """More bytes came than a body may have."""

    def __init__(self) -> None:
        super().__init__(413)


class BodyLimitMiddleware:
    """Refuses bodies of more than `largest` bytes: at once by Content-Length, while reading without one.

    Uploads, which are multipart and read piece by piece, may have `largest_upload` bytes.
    """

    def __init__(self, app: ASGIApp, largest: int, largest_upload: int) -> None:
        self._app = app
        self._largest = largest
        self._largest_upload = largest_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_upload = (_header(scope, b"content-type") or b"").lower().startswith(b"multipart/")
        largest = self._largest_upload if is_upload else self._largest
        declared = _header(scope, b"content-length")
        if declared is None or not declared.isdigit():
            # An HTTP server ends a body at its Content-Length; only without one the bytes must be counted.
            await self._app(scope, _counted(receive, largest), send)
        elif int(declared) > largest:
            raise BodyTooLarge
        else:
            await self._app(scope, receive, send)


def _counted(receive: Receive, largest: int) -> Receive:
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > largest:
            raise BodyTooLarge
        return message

    return counted


def _header(scope: Scope, wanted: bytes) -> bytes | None:
    return next((value for name, value in scope["headers"] if name == wanted), None)
