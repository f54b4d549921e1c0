"""The one place that reads the wall clock."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the present instant in UTC, microsecond precision."""
    return datetime.now(UTC)  # noqa: TID251 - this is the place the ban points to


def as_utc(moment: datetime) -> datetime:
    """Return `moment` in UTC; raises ValueError when it names no zone."""
    if moment.tzinfo is None:
        message = "a time needs a zone"
        raise ValueError(message)
    return moment.astimezone(UTC)


def rfc3339(moment: datetime) -> str:
    """Return `2026-11-23T12:00:00.123456Z`; microseconds only where there are any."""
    return as_utc(moment).isoformat().replace("+00:00", "Z")
