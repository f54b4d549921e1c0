"""What every event has, and the text and owner references that events are made of.

An event is a frozen Struct. Two kinds exist:

- a *stream event* (`StreamEvent`) belongs to a deal or a customer and carries that stream's dense version 1..n:
  `(stream, version)` is its identity for order, duplicates and gaps, for ever;
- a *state event* (`StateEvent`) tells the whole present state of one thing; its version only grows, the newest wins,
  `deleted=True` is a tombstone that keeps its version.
"""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

import msgspec

from shared.ids import event_id


class Names(msgspec.Struct, frozen=True):
    """A text in Chinese and in English."""

    zh: str
    en: str


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all events; `type`, `topic` and `source` are facts of the class."""

    type: ClassVar[str]
    topic: ClassVar[str]
    source: ClassVar[str]

    version: int
    recorded_at: datetime

    @property
    def stream(self) -> str:
        """The thing this event is about, e.g. `deal:0190...`."""
        raise TypeError(type(self).__name__)

    @property
    def key(self) -> str:
        """What decides the partition: one stream stays in one partition."""
        return self.stream

    @property
    def id(self) -> UUID:
        return event_id(self.stream, self.version)

    @property
    def happened_at(self) -> datetime:
        """The CloudEvents `time`: when it happened, or was recorded where that is not known."""
        return self.recorded_at


class StreamEvent(Event, frozen=True, kw_only=True):
    """An event of a dense stream; `occurred_at` is null for an undated fact of an import."""

    occurred_at: datetime | None

    @property
    def happened_at(self) -> datetime:
        return self.occurred_at or self.recorded_at


class StateEvent(Event, frozen=True, kw_only=True):
    """The whole present state of one thing; the newest version wins."""

    deleted: bool = False
