"""Versions of what notify announces: they only grow, over restarts and restored backups too."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def next_version(previous: int, now: datetime) -> int:
    """Return the version after `previous`: the clock in microseconds, or one more where that is not ahead."""
    return max(previous + 1, (now - _EPOCH) // timedelta(microseconds=1))
