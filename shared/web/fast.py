"""Hot routes: a plain function of the request, with a msgspec body, documented like every other route.

FastAPI's dependencies cost about as much as a whole move; a hot route calls `authenticate` and `read_body` itself.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.foreground import foreground
from shared.web.problems import FieldError, Problem, invalid
from shared.web.strict_input import check_json
from shared.web.validation import field_errors

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]
# Where openapi.py finds schemas to move to the components.
SCHEMAS = "x-schemas"
_REF = "#/components/schemas/{model}"


class FastRoute(APIRoute):
    """A route whose function gets the request as it is; `create_app` lets HotRoutes serve it."""

    def get_route_handler(self) -> Any:
        return self.endpoint


def fast_post(
    router: APIRouter,
    path: str,
    handler: Handler,
    *,
    body: type[BaseModel],
    answer: type[BaseModel],
    headers: Sequence[str] = ("Idempotency-Key", "If-Match"),
) -> None:
    """Add `POST path` to `router`: `body` and `answer` document it, and `body` explains bad input (see read_body)."""
    schema = body.model_json_schema(ref_template=_REF)
    definitions = {**schema.pop("$defs", {}), body.__name__: schema}
    content = {"application/json": {"schema": {"$ref": _REF.format(model=body.__name__)}}}
    extra = {
        "parameters": [*map(_path_parameter, re.findall(r"\{(\w+)\}", path)), *map(_header_parameter, headers)],
        "requestBody": {"required": True, "content": content},
        SCHEMAS: definitions,
    }
    router.add_api_route(
        path,
        handler,
        methods=["POST"],
        status_code=201,
        responses={201: {"model": answer}},
        response_model=None,
        openapi_extra=extra,
        route_class_override=FastRoute,
    )


class HotRoutes:
    """An ASGI layer that serves hot routes itself; the handlers of the application answer what they raise.

    The framework's own way to a route (exit stack, router, two handlers of exceptions) costs about as much as they do.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[Route]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for route in self._routes:
                match, found = route.matches(scope)
                if match is Match.FULL:
                    scope.update(found)
                    scope["route_template"] = route.path
                    with foreground.request():
                        response = await _answer(route.endpoint, Request(scope, receive))
                    await response(scope, receive, send)
                    return
        await self._app(scope, receive, send)


async def _answer(endpoint: Handler, request: Request) -> Response:
    try:
        return await endpoint(request)
    except Exception as error:
        handlers = request.app.exception_handlers
        handler = next((handlers[kind] for kind in type(error).__mro__ if kind in handlers), None)
        if handler is None:
            raise
        response: Response = await handler(request, error)
        return response


async def read_body(request: Request, decoder: msgspec.json.Decoder[T], model: type[BaseModel]) -> T:
    """Return the decoded body; raises 415, 400, and 422 with every bad field as `model` sees them."""
    if "json" not in request.headers.get("content-type", ""):
        raise Problem(415, "unsupported_media_type", headers={"accept": "application/json"})
    raw = await request.body()
    if b"\\u" in raw:
        check_json(raw)
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _explained(raw, model, error) from None


def _explained(raw: bytes, model: type[BaseModel], error: Exception) -> Problem:
    """The fast decoder stops at the first fault: the model finds all of them."""
    if not raw:
        return invalid([FieldError("", "required", {"zh": "需要请求体", "en": "a body is required"})])
    check_json(raw)
    try:
        told: object = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Problem(400, "malformed_json")
    try:
        model.model_validate(told)
    except ValidationError as found:
        errors: list[Mapping[str, Any]] = [{**entry, "loc": ("body", *entry["loc"])} for entry in found.errors()]
        return invalid(field_errors(errors, told))
    return invalid([FieldError("", "invalid", {"zh": str(error), "en": str(error)})])


def _path_parameter(name: str) -> dict[str, object]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}


def _header_parameter(name: str) -> dict[str, object]:
    return {"name": name, "in": "header", "required": False, "schema": {"type": "string"}}
