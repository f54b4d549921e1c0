"""Days as API models take them: ISO texts within a calendar that every computation stays in."""

from datetime import date
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

_ISO_LENGTH = len("2026-11-23")


def _only_iso(value: object) -> object:
    """Refuse numbers and times, which Pydantic would take for days."""
    if isinstance(value, date) or (isinstance(value, str) and len(value) == _ISO_LENGTH):
        return value
    raise PydanticCustomError("date_parsing", "a day as YYYY-MM-DD")


Day = Annotated[date, BeforeValidator(_only_iso), Field(ge=date(1970, 1, 1), lt=date(2200, 1, 1))]
