"""Ranges of local days in query parameters: what they may be, and what is wrong with one."""

from datetime import date
from typing import Annotated

from pydantic import Field

from services.kpi.use_cases.values import LARGEST_ANSWER
from shared.calendar import Grain
from shared.language import Text
from shared.web.models import ISO_ONLY
from shared.web.problems import FieldError

# Beyond these the calendar itself ends.
Day = Annotated[date, Field(ge=date(1900, 1, 1), le=date(9999, 12, 31)), ISO_ONLY]
LAST_START = date(9990, 1, 1)
SHORTEST = {"day": 1, "week": 7, "month": 31, "quarter": 92, "year": 366}

TOO_MANY = FieldError(
    "",
    "too_many_items",
    {"zh": f"结果会超过 {LARGEST_ANSWER} 项，请缩小范围", "en": f"more than {LARGEST_ANSWER} items: ask for less"},
    parameter="grain",
)
_EMPTY: Text = {"zh": "from 必须早于 to", "en": "from must be before to"}
_BEYOND: Text = {"zh": "日期超出日历范围", "en": "beyond the calendar"}


def range_errors(days: tuple[date, date], grain: Grain, *, answers: int = 1) -> list[FieldError]:
    """Return what is wrong with `[start, end)` cut into periods of `grain`, each answered `answers` times."""
    start, end = days
    if start >= end:
        return [FieldError("", "empty_range", _EMPTY, parameter="from")]
    if grain != "total" and start > LAST_START:
        return [FieldError("", "out_of_range", _BEYOND, parameter="from")]
    if grain != "total" and (end - start).days // SHORTEST[grain] * answers > LARGEST_ANSWER:
        return [TOO_MANY]
    return []
