"""Identifiers: time-ordered for new things, derived for events."""

from uuid import UUID, uuid5

from uuid_utils import compat

EVENT_NAMESPACE = UUID("6f0c8f5e-5b0a-5d53-9a43-0f6a7c1f3b21")


def new_id() -> UUID:
    """Return a fresh UUIDv7: ids made later sort later."""
    return compat.uuid7()


def event_id(stream: str, version: int) -> UUID:
    """Return the id of version `version` of `stream`, the same for ever: a replay keeps its ids."""
    return uuid5(EVENT_NAMESPACE, f"{stream}@{version}")
