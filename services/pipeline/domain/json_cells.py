"""A JSON object read like a row: by its own keys, by dotted paths or by JSON pointers."""

from decimal import Decimal
from typing import Any

import msgspec

from services.pipeline.domain.mapping import Cells

_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


def read_object(raw: str | bytes) -> dict[str, Any] | None:
    """Return a JSON object with its decimals exact, or None when `raw` is none."""
    try:
        found = _decoder.decode(raw)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def object_cells(found: dict[str, Any]) -> Cells:
    """Return how a mapping reads `found`: a path that leads nowhere is a column that the row does not have."""

    def cell(path: str) -> str | None:
        if path in found:
            return as_text(found[path])
        here: object = found
        for step in _steps(path):
            if not isinstance(here, dict) or step not in here:
                return None
            here = here[step]
        return as_text(here)

    return cell


def _steps(path: str) -> list[str]:
    if path.startswith("/"):
        return [step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/")]
    return path.split(".")


def as_text(value: object) -> str:
    """Return a JSON value as a cell: empty for null, `true` and `false`, JSON for arrays and objects."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, Decimal) else _encoder.encode(value).decode()
