"""Errors over HTTP: RFC 9457 problem+json with a stable code, in the caller's language.

Members: `type` (`/problems/<code>`), `title`, `status`, `detail`, `instance` (the path), `code`, `request_id`,
`errors`, and whatever else belongs to the code. `errors` lists every bad input at once; an entry is
`{"pointer", "code", "detail"}`, where `pointer` is an RFC 6901 pointer into the body (`""` is the whole body). What is
wrong outside the body has the pointer `""` and is named beside it: `"parameter": "limit"` (query) or
`"header": "If-Match"`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from shared.language import Language, Text, negotiate, pick
from shared.tracing import bound_cause, new_cause
from shared.web.problem_texts import TEXTS, TITLES

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One bad input: where it is, a stable code and what is wrong with it."""

    pointer: str
    code: str
    detail: Text
    parameter: str | None = None
    header: str | None = None


class Problem(Exception):  # noqa: N818 - RFC 9457's own word
    """An answer other than success; raise it anywhere below a route."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: Text | None = None,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        **members: object,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail: Text = detail or TEXTS.get(code) or TITLES.get(status) or TITLES[500]
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.members = members


def not_found(kind: str = "resource") -> Problem:
    """404 `not_found`: no such thing, or one that this caller may not see."""
    return Problem(404, "not_found", kind=kind)


def invalid(errors: Sequence[FieldError]) -> Problem:
    """422 `validation_failed` with every bad field."""
    return Problem(422, "validation_failed", errors=errors)


def conflict(code: str, detail: Text, **members: object) -> Problem:
    """409: the present state does not allow it."""
    return Problem(409, code, detail, errors=(), headers=None, **members)


def forbidden(code: str = "forbidden", detail: Text | None = None) -> Problem:
    """403: the caller is known and must not do this."""
    return Problem(403, code, detail)


def problem_response(request: Request, problem: Problem) -> Response:
    """Return `problem` as the answer to `request`, in its language."""
    language = negotiate(request.headers.get("accept-language"))
    cause = bound_cause() or new_cause()
    title = TITLES.get(problem.status, TITLES[500])
    document: dict[str, object] = {
        "type": f"/problems/{problem.code}",
        "title": pick(title, language),
        "status": problem.status,
        "detail": pick(problem.detail, language),
        "instance": quote(request.scope["path"]),
        "code": problem.code,
        "request_id": cause.correlation_id,
        **problem.members,
    }
    if problem.errors:
        document["errors"] = [_rendered(error, language) for error in problem.errors]
    headers = {"content-language": language, "vary": "Accept-Language", "cache-control": "no-store", **problem.headers}
    return Response(msgspec.json.encode(document), problem.status, headers, MEDIA_TYPE)


def _rendered(error: FieldError, language: Language) -> dict[str, str]:
    shown = {"pointer": error.pointer, "code": error.code, "detail": pick(error.detail, language)}
    if error.parameter is not None:
        shown["parameter"] = error.parameter
    if error.header is not None:
        shown["header"] = error.header
    return shown
