"""Refuses what no route must see: texts PostgreSQL cannot store, numbers JSON does not know, unknown parameters.

It looks at the raw request, so that free-form parts of a body are covered as well as declared fields.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from math import isinf
from typing import Any, NamedTuple

from fastapi._compat import ModelField, field_annotation_is_sequence
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


class _Parameters(NamedTuple):
    """The query parameters of a route, and whether each is a list; a model tells itself which are not known."""

    known: Mapping[str, bool]
    of_model: bool


def check_query(request: Request) -> None:
    """Raise 422 for query parameters that the route does not declare, or not as a list, or that hold unusable text."""
    route = request.scope.get("route")
    declared = _declared(route.path_format, route.endpoint) if isinstance(route, APIRoute) else _Parameters({}, True)
    told = request.query_params.multi_items()
    times = Counter(name for name, _ in told)
    wrong = {
        (name, kind): FieldError("", *field_text(kind, {}), parameter=name)
        for name, value in told
        for kind in _wrong_with(name, value, declared, times[name])
    }
    if wrong:
        raise invalid(list(wrong.values()))


def _wrong_with(name: str, value: str, declared: _Parameters, times: int) -> Iterator[str]:
    if name not in declared.known and not declared.of_model:
        yield "unknown_parameter"
    elif times > 1 and not declared.known.get(name, True):
        yield "repeated_parameter"
    elif _UNUSABLE.search(value):
        yield "unusable_text"


@cache
def _declared(path: str, endpoint: Callable[..., Any]) -> _Parameters:
    """Return the query parameters of a route function and its dependencies."""
    known: dict[str, bool] = {}
    of_model = False
    for field in _query_fields(get_dependant(path=path, call=endpoint)):
        annotation = field.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            of_model = True
            for name, part in annotation.model_fields.items():
                known[part.alias or name] = field_annotation_is_sequence(part.annotation)
        else:
            known[field.alias] = field_annotation_is_sequence(annotation)
    return _Parameters(known, of_model)


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
