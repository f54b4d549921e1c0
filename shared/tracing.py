"""Which request caused what: correlation, causation and W3C trace context, carried by every event and log line."""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something happens: `correlation_id` names the first request, `causation_id` the event before."""

    correlation_id: str
    causation_id: str | None
    traceparent: str


_current: ContextVar[Cause | None] = ContextVar("cause", default=None)


def new_traceparent(parent: str | None = None) -> str:
    """Return a traceparent of a new span, in the trace of `parent` when that is well formed."""
    known = _TRACEPARENT.fullmatch(parent or "")
    trace = known.group(1) if known else secrets.token_hex(16)
    return f"00-{trace}-{secrets.token_hex(8)}-01"


def new_cause(correlation_id: str | None = None, traceparent: str | None = None) -> Cause:
    """Return the cause of something that starts here: a request, a timer, an import."""
    return Cause(correlation_id or secrets.token_hex(16), None, new_traceparent(traceparent))


def bound_cause() -> Cause | None:
    """Return the cause that was set for what runs now, if any was."""
    return _current.get()


def current_cause() -> Cause:
    """Return the cause of what runs now; a new one where nothing set it."""
    return _current.get() or new_cause()


@contextmanager
def caused_by(cause: Cause) -> Iterator[Cause]:
    """Let everything within the block be caused by `cause`."""
    token = _current.set(cause)
    try:
        yield cause
    finally:
        _current.reset(token)
