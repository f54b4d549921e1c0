"""Optimistic concurrency over HTTP: ETag, If-Match and If-None-Match on row versions."""

import re
from typing import Annotated

from fastapi import Header
from starlette.requests import Request
from starlette.responses import Response

from shared.web.problems import Problem

_TAG = re.compile(r'\s*(W/)?("[^"]*")\s*(?:,|$)')

IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description='The version you change, as its ETag (`"7"`), or `*` for any. Missing: 428; stale: 412.',
    ),
]


def etag(version: int) -> str:
    """Return the strong entity tag of a row version: `"7"`."""
    return f'"{version}"'


def require_match(if_match: str | None, version: int) -> None:
    """Raise 428 without If-Match and 412 when it does not name `version`; `*` names every version."""
    if if_match is None:
        raise Problem(428, "precondition_required")
    check_match(if_match, version)


def check_match(if_match: str | None, version: int) -> None:
    """Raise 412 when there is an If-Match and it does not name `version`; for routes where it is optional."""
    if not matches(if_match, version):
        raise Problem(412, "precondition_failed", headers={"etag": etag(version)})


def matches(if_match: str | None, version: int) -> bool:
    """Tell whether an If-Match names `version`; none at all and `*` name every version."""
    if if_match is None or if_match.strip() == "*":
        return True
    # If-Match compares strongly: a weak tag names no version.
    return etag(version) in [tag for weak, tag in _TAG.findall(if_match) if not weak]


def not_modified(request: Request, version: int) -> Response | None:
    """Return the 304 answer when If-None-Match names `version`, None otherwise."""
    told = request.headers.get("if-none-match")
    if told is None:
        return None
    if told.strip() == "*" or etag(version) in [tag for _, tag in _TAG.findall(told)]:
        return Response(status_code=304, headers={"etag": etag(version)})
    return None
