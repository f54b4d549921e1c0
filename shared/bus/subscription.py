"""What a service says about its consuming: a typed table from event type to use case; the policy is elsewhere."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.engine import Signal
from shared.events.base import Event
from shared.events.codec import Envelope, Message


@dataclass(frozen=True, slots=True)
class Delivery:
    """One decoded event of a poll, with its envelope and its place on the bus."""

    envelope: Envelope
    event: Event
    message: Message
    topic: str
    partition: int
    offset: int


# A use case applies the deliveries of one kind, in order, within the consumer's transaction. It may raise only for a
# deterministic fault of an event: that event is isolated, kept as a dead letter, and its stream parked.
Handler = Callable[[AsyncConnection, Sequence[Delivery]], Awaitable[None]]


class StreamGuard(Protocol):
    """Where the applied version of each dense stream is kept (the generic table, or a service's own state)."""

    async def lock(self, tx: AsyncConnection, streams: Sequence[str]) -> Mapping[str, int]:
        """Lock the sorted `streams` and return the applied version of each; 0 for a new one."""
        ...

    async def store(self, tx: AsyncConnection, versions: Mapping[str, int]) -> None:
        """Record the newly applied versions."""
        ...


class ExportUnavailable(ConnectionError):  # noqa: N818 - the name of the fact
    """The owner did not answer, or not with an export: to be asked again later."""


class OwnerExport(Protocol):
    """The truth behind a topic, read from the service that owns it; both methods raise ExportUnavailable."""

    def pages(self, topic: str) -> AsyncIterator[Sequence[Message]]:
        """Yield everything the owner has, paged by stream, each page with complete streams."""
        ...

    async def after(self, topic: str, stream: str, version: int) -> Sequence[Message]:
        """Return the events of `stream` behind `version`, in order."""
        ...


@dataclass(frozen=True)
class Subscription:
    """What one consumer group reads and which use case gets what.

    `handlers` maps event classes to use cases; an event class of these topics that is not in the table is skipped (its
    stream's version still advances). `committed` is set after each commit that applied something.
    """

    group: str
    topics: tuple[str, ...]
    handlers: Mapping[type[Event], Handler]
    guard: StreamGuard | None = None
    committed: Signal | None = field(default=None, compare=False)
