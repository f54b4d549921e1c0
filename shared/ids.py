"""Identifiers: time-ordered for new things, derived for events."""

from uuid import UUID, uuid5

import uuid_utils
from uuid_utils import compat

EVENT_NAMESPACE = UUID("6f0c8f5e-5b0a-5d53-9a43-0f6a7c1f3b21")
_FAST_NAMESPACE = uuid_utils.UUID(str(EVENT_NAMESPACE))


def new_id() -> UUID:
    """Return a fresh UUIDv7: ids made later sort later."""
    return compat.uuid7()


def event_id(stream: str, version: int) -> UUID:
    """Return the id of version `version` of `stream`, the same for ever: a replay keeps its ids."""
    return uuid5(EVENT_NAMESPACE, f"{stream}@{version}")


def event_id_text(stream: str, version: int) -> str:
    """Return `event_id` as text, as every envelope carries it, at a tenth of the cost."""
    return str(uuid_utils.uuid5(_FAST_NAMESPACE, f"{stream}@{version}"))
