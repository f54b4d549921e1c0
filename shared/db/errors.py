"""Tells the faults of the surroundings (retry for ever) from the faults of a statement or an event (never retry)."""

from collections.abc import Iterator

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

# 08 connection, 28 who may connect, 40 rollback (serialization, deadlock), 53 resources, 55 locks, 57 intervention,
# 58 system.
_SURROUNDING_CLASSES = frozenset({"08", "28", "40", "53", "55", "57", "58"})
# Timeouts of a transaction; a replica; damaged files; and a schema that is not there yet, or a plan made before it:
# code and database are of different versions.
_SURROUNDING_STATES = frozenset(
    {"25P03", "25P04", "25006", "XX001", "XX002", "3D000", "0A000", "42P01", "42703", "42883", "42501"}
)
_KNOWN_ROLLED_BACK = frozenset({"40001", "40P01", "53300", "55P03"})


def is_infrastructure(error: BaseException) -> bool:
    """Return whether trying again later may help, whatever the data: connections, locks, timeouts, a full disk."""
    return any(_is_surrounding(link) for link in _chain(error))


def is_outcome_unknown(error: BaseException) -> bool:
    """Return whether the transaction that failed so may yet have been committed."""
    return is_infrastructure(error) and sqlstate(error) not in _KNOWN_ROLLED_BACK


def sqlstate(error: BaseException) -> str | None:
    """Return PostgreSQL's five-letter code when the server named one."""
    for link in _chain(error):
        state = getattr(link, "sqlstate", None)
        if isinstance(state, str):
            return state
    return None


def _is_surrounding(error: BaseException) -> bool:
    # The driver's internal error is what a connection that breaks between two of its steps ends in.
    if isinstance(error, OSError | PoolTimeout | asyncpg.InternalClientError):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    state = getattr(error, "sqlstate", None)
    return isinstance(state, str) and (state[:2] in _SURROUNDING_CLASSES or state in _SURROUNDING_STATES)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what the driver raised beneath it; not what an `except` block happened to be handling."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.orig if isinstance(link, DBAPIError) else link.__cause__
