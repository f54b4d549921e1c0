"""Days as integers: what facts and cells are dated by."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

_EPOCH = date(1970, 1, 1).toordinal()
_EPOCH_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
# Before every day there is: a range of days never meets it.
UNDATED = -1_000_000
# The bounds of "all the time": what a total without dates covers.
BEGINNING = date(1970, 1, 1)
END = date(9999, 12, 31)


def day_number(day: date) -> int:
    """Return the days since 1970-01-01."""
    return day.toordinal() - _EPOCH


def day_of(number: int) -> date:
    """Return the day that is `number` days after 1970-01-01."""
    return date.fromordinal(number + _EPOCH)


def local_day_number(moment: datetime | None, zone: ZoneInfo) -> int:
    """Return the local day of an instant as a number; UNDATED for none."""
    return UNDATED if moment is None else moment.astimezone(zone).toordinal() - _EPOCH


def microseconds_of(moment: datetime) -> int:
    """Return the microseconds since the epoch: what versions of state events grow with."""
    return (moment - _EPOCH_MOMENT) // timedelta(microseconds=1)
