"""The one table from whatever was raised below a route to the problem that the caller sees."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from shared.db.batcher import Overloaded
from shared.db.errors import is_infrastructure
from shared.events.codec import MessageTooLarge
from shared.logging import get_logger
from shared.web.problems import Problem, problem_response
from shared.web.validation import problem_of_validation

log = get_logger(__name__)

RETRY_AFTER_SECONDS = 2
_CODES: Mapping[int, str] = {
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}


def problem_of(error: Exception) -> Problem:
    """Return the problem that stands for `error`; what nobody expected is logged and says nothing of its inside."""
    problem = _of_known(error)
    if problem is not None:
        return problem
    if is_infrastructure(error):
        log.warning("database_unavailable", error=f"{type(error).__name__}: {error}")
        return Problem(503, "database_unavailable", headers={"retry-after": str(RETRY_AFTER_SECONDS)})
    log.error("request_failed", exc_info=error)
    return Problem(500, "internal_error")


def _of_known(error: Exception) -> Problem | None:
    match error:
        case Problem():
            return error
        case RequestValidationError():
            return problem_of_validation(error)
        case HTTPException():
            return _of_http_exception(error)
        case Overloaded():
            return Problem(503, "overloaded", headers={"retry-after": str(error.retry_after)})
        case MessageTooLarge():
            return Problem(413, "body_too_large")
    return None


def _of_http_exception(error: HTTPException) -> Problem:
    code = _CODES.get(error.status_code)
    if error.status_code == 400:  # noqa: PLR2004 - FastAPI's word for a body that cannot be parsed
        code = "malformed_body"
    return Problem(error.status_code, code or f"http_{error.status_code}", headers=dict(error.headers or {}))


async def render(request: Request, error: Exception) -> Response:
    """Answer `error`; the handler of every exception that routes raise."""
    if isinstance(error, HTTPException) and error.status_code == 405:  # noqa: PLR2004
        return _wrong_method(request, error)
    problem = problem_of(error)
    if problem.code == "malformed_body" and "json" in request.headers.get("content-type", ""):
        problem = Problem(400, "malformed_json")
    return problem_response(request, problem)


def install(app: FastAPI) -> None:
    """Answer every error of `app` as a problem."""
    handlers: tuple[Any, ...] = (Problem, HTTPException, RequestValidationError)
    for kind in handlers:
        app.add_exception_handler(kind, render)


def _wrong_method(request: Request, error: HTTPException) -> Response:
    allowed = ", ".join(sorted(_methods_of(request.app, request.scope)))
    if request.method == "OPTIONS":
        return Response(status_code=204, headers={"allow": allowed})
    error.headers = {"allow": allowed}
    return problem_response(request, problem_of(error))


def _methods_of(app: FastAPI, scope: Scope) -> set[str]:
    """Return every method some route knows for this path; the router itself names those of the first route only."""
    methods = {"OPTIONS"}
    for route in iter_route_contexts(app.routes):
        if route.methods and route.path_regex.match(scope["path"]):
            methods |= route.methods
    return methods | ({"HEAD"} if "GET" in methods else set())
