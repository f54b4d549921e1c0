"""Refuses what no route must see: texts PostgreSQL cannot store, numbers JSON does not know, unknown parameters.

It looks at the raw request, so that free-form parts of a body are covered as well as declared fields.
"""

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from math import isinf
from typing import Any

from fastapi._compat import ModelField
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request

from shared.web.problems import FieldError, Problem, invalid
from shared.web.validation_texts import field_text

DEEPEST = 32
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")
# Numbers beyond a double: Python would read them as infinity.
_HUGE_NUMBER = re.compile(rb"[eE]\+?\d{3}|\d{300}")


async def strict_input(request: Request) -> None:
    """A dependency of every route: raises 400 or 422 for input that is unusable whatever the route does with it."""
    if request.scope["query_string"]:
        check_query(request)
    if request.method in ("POST", "PUT", "PATCH") and "json" in request.headers.get("content-type", ""):
        check_json(await request.body())


def check_query(request: Request) -> None:
    """Raise 422 for query parameters that the route does not declare, or that hold unusable text."""
    route = request.scope.get("route")
    known = _declared(route.path_format, route.endpoint) if isinstance(route, APIRoute) else None
    errors = [
        FieldError("", *field_text(kind, {}), parameter=name)
        for name, value in request.query_params.multi_items()
        for kind in _wrong_with(name, value, known)
    ]
    if errors:
        raise invalid(errors)


def _wrong_with(name: str, value: str, known: frozenset[str] | None) -> Iterator[str]:
    if known is not None and name not in known:
        yield "unknown_parameter"
    elif _UNUSABLE.search(value):
        yield "unusable_text"


@cache
def _declared(path: str, endpoint: Callable[..., Any]) -> frozenset[str] | None:
    """Return the query parameters of a route function and its dependencies; None where a model knows them itself."""
    fields = list(_query_fields(get_dependant(path=path, call=endpoint)))
    annotations = [field.field_info.annotation for field in fields]
    if any(isinstance(annotation, type) and issubclass(annotation, BaseModel) for annotation in annotations):
        return None
    return frozenset(field.alias for field in fields)


def _query_fields(dependant: Dependant) -> Iterator[ModelField]:
    yield from dependant.query_params
    for dependency in dependant.dependencies:
        yield from _query_fields(dependency)


def check_json(body: bytes) -> None:
    """Raise 400 or 422 when a JSON body holds NUL, unpaired surrogates, NaN, infinities, or is no UTF-8 or too deep."""
    if b"\x00" in body or not _is_utf8(body):
        # JSON in UTF-16 or UTF-32, which RFC 8259 forbids between systems, has NUL everywhere.
        raise Problem(400, "malformed_json")
    if _is_suspicious(body):
        errors = [FieldError(pointer, *field_text(kind, {})) for pointer, kind in _bad_parts(_parsed(body), "", 0)]
        if errors:
            raise invalid(errors)


def _is_utf8(body: bytes) -> bool:
    # Python's own JSON reader lets surrogates pass that UTF-8 does not know.
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_suspicious(body: bytes) -> bool:
    return (
        b"\\u" in body
        or b"NaN" in body
        or b"Infinity" in body
        or body.count(b"[") + body.count(b"{") > DEEPEST
        or _HUGE_NUMBER.search(body) is not None
    )


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise Problem(400, "malformed_json") from None


def _refuse(name: str) -> float:
    message = f"{name} is not JSON"
    raise ValueError(message)


def _bad_parts(value: object, pointer: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yield pointer and kind of every unusable part of a parsed body."""
    if depth > DEEPEST:
        yield pointer, "too_deep"
    elif isinstance(value, str) and _UNUSABLE.search(value):
        yield pointer, "unusable_text"
    elif isinstance(value, float) and isinf(value):
        yield pointer, "int_parsing_size"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _bad_parts(item, f"{pointer}/{index}", depth + 1)
    elif isinstance(value, dict):
        yield from _bad_members(value, pointer, depth)


def _bad_members(members: dict[str, object], pointer: str, depth: int) -> Iterator[tuple[str, str]]:
    for key, item in members.items():
        if _UNUSABLE.search(key):
            yield pointer, "unusable_text"
        else:
            yield from _bad_parts(item, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}", depth + 1)
