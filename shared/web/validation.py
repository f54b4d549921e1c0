"""Turns what validators found into problems: every bad field at once, by JSON pointer."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError

from shared.web.problems import FieldError, Problem, invalid, not_found
from shared.web.validation_texts import field_text

Found = Mapping[str, Any]


def problem_of_validation(error: RequestValidationError) -> Problem:
    """Return 400 for malformed JSON, 415 for a body that is no JSON, 404 for a bad id in the path, otherwise 422."""
    found: Sequence[Found] = error.errors()
    if any(entry["type"] == "json_invalid" for entry in found):
        return Problem(400, "malformed_json")
    # FastAPI hands a body of another content type to the validator as bytes.
    if isinstance(error.body, bytes) and any(entry["loc"][0] == "body" for entry in found):
        return Problem(415, "unsupported_media_type", headers={"accept": "application/json"})
    if any(entry["loc"][0] == "path" for entry in found):
        return not_found()
    return invalid(field_errors(found, error.body))


def field_errors(found: Iterable[Found], body: object) -> list[FieldError]:
    """Return the validator's errors, one for each place and code, with pointers into `body`."""
    errors: dict[tuple[str, str | None, str | None, str], FieldError] = {}
    for entry in found:
        error = _field_error(entry, body)
        errors.setdefault((error.pointer, error.parameter, error.header, error.code), error)
    return list(errors.values())


def _field_error(entry: Found, body: object) -> FieldError:
    source, *path = entry["loc"]
    code, detail = field_text(entry["type"], entry.get("ctx", {}))
    if source == "body":
        return FieldError(pointer_to(path, body, missing=entry["type"] == "missing"), code, detail)
    name = str(path[0]) if path else ""
    if entry["type"] == "extra_forbidden":
        code, detail = field_text("unknown_parameter", {})
    if source == "header":
        return FieldError("", code, detail, header=name)
    return FieldError("", code, detail, parameter=name)


def pointer_to(path: Sequence[str | int], body: object, *, missing: bool = False) -> str:
    """Return the RFC 6901 pointer of a validator's path; names of union members in it, which no body has, are left out.

    The last part of the path of a `missing` field is the field itself.
    """
    parts: list[str] = []
    here: Any = body
    for place, part in enumerate(path):
        if _has(here, part):
            here = here[part]
        elif not (missing and place == len(path) - 1):
            continue
        parts.append(str(part).replace("~", "~0").replace("/", "~1"))
    return "".join(f"/{part}" for part in parts)


def _has(value: object, part: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, Mapping) and part in value
