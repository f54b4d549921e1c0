"""The text of a cell as a value: amounts, days and moments."""

import re
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from zoneinfo import ZoneInfo

from shared.calendar import start_of_day
from shared.money import MoneyError, exponent, to_minor

_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
_SLASHED_DAY = re.compile(r"(\d{4})[/.](\d{1,2})[/.](\d{1,2})")
# Outside these years a date is a slip of the pen, and its start in a time zone may not exist.
_FIRST_YEAR, _LAST_YEAR = 1900, 2200


class Unreadable(ValueError):  # noqa: N818 - the name of the fact
    """A cell that is not what its field needs; `code` says what it is not."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code)
        self.code = code
        self.text = text


def read_amount(text: str, currency: str) -> int:
    """Return minor units of `1054`, `1,054.50` or `1054.5`; raises Unreadable."""
    try:
        number = Decimal(text.replace(",", "") if _THOUSANDS.fullmatch(text) else text)
    except InvalidOperation:
        raise Unreadable("not_a_number", text) from None
    if not number.is_finite() or "_" in text:
        raise Unreadable("not_a_number", text)
    if number < 0:
        raise Unreadable("negative_amount", text)
    try:
        exponent(currency)
    except MoneyError:
        raise Unreadable("not_a_currency", currency) from None
    try:
        return to_minor(number, currency)
    except MoneyError:
        raise Unreadable("not_an_amount", text) from None


@lru_cache(maxsize=8192)
def read_day(text: str, date_format: str | None = None) -> date:
    """Return the day of `2017-03-01`, `2017/3/1` or a time of day; raises Unreadable."""
    return _read_time(text, date_format).date()


@lru_cache(maxsize=8192)
def read_moment(text: str, zone: ZoneInfo, date_format: str | None = None) -> datetime:
    """Return the instant (UTC) of an RFC 3339 time, of a local time, or of the start of a day in `zone`.

    Raises Unreadable.
    """
    moment = _read_time(text, date_format)
    if moment.tzinfo is not None:
        return moment.astimezone(UTC)
    if moment.time() == time():
        return start_of_day(moment.date(), zone)
    return moment.replace(tzinfo=zone).astimezone(UTC)


def _read_time(text: str, date_format: str | None) -> datetime:
    slashed = _SLASHED_DAY.fullmatch(text) if date_format is None else None
    try:
        if date_format is not None:
            moment = datetime.strptime(text, date_format)  # noqa: DTZ007 - the caller adds the zone
        elif slashed:
            year, month, day = slashed.groups()
            moment = datetime(int(year), int(month), int(day))  # noqa: DTZ001 - the caller adds the zone
        else:
            moment = datetime.fromisoformat(text)
    except ValueError:
        raise Unreadable("not_a_date", text) from None
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise Unreadable("not_a_date", text)
    return moment
