"""The Bus: what relay and consumer need from a log of partitioned topics, whichever it is."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from shared.events.codec import Message


class TopicPartition(NamedTuple):
    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Record:
    """A message at its offset."""

    at: TopicPartition
    offset: int
    message: Message


class OffsetOutOfRange(Exception):  # noqa: N818 - the name of the fact
    """The wanted offset is no longer (or not yet) in the log: the reader must resync from the owner's export."""

    def __init__(self, at: TopicPartition, wanted: int, low: int, end: int) -> None:
        super().__init__(f"{at.topic}/{at.partition}: offset {wanted} is outside [{low}, {end}]")
        self.at = at


class BusReader(Protocol):
    """One member's reading position over the partitions it was told to read; it never decides who reads what."""

    async def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read exactly these partitions, from these offsets."""
        ...

    async def poll(self, limit: int, timeout: float) -> Sequence[Record]:
        """Return up to `limit` records, in offset order per partition, waiting at most `timeout` seconds for the first.

        Raises OffsetOutOfRange.
        """
        ...

    def seek(self, at: TopicPartition, offset: int) -> None:
        """Read `at` from `offset` next."""
        ...

    def pause(self, parts: Collection[TopicPartition]) -> None: ...

    def resume(self, parts: Collection[TopicPartition]) -> None: ...

    async def close(self) -> None: ...


class Bus(Protocol):
    """A log of topics with partitions and dense offsets."""

    @property
    def id(self) -> str:
        """Names this log: offsets of another log mean nothing here."""
        ...

    @property
    def topics(self) -> Collection[str]:
        """The topics that this version of the code can append to."""
        ...

    async def append(self, messages: Sequence[Message]) -> None:
        """Return once all `messages` are durable; order per key is kept. After an error a prefix per key may be in."""
        ...

    def partitions(self, topic: str) -> int: ...

    def reader(self, topics: Collection[str]) -> BusReader: ...

    async def low_offsets(self, parts: Collection[TopicPartition]) -> Mapping[TopicPartition, int]: ...

    async def end_offsets(self, parts: Collection[TopicPartition]) -> Mapping[TopicPartition, int]: ...

    def tell(self, group: str, positions: Mapping[TopicPartition, int]) -> None:
        """Show a log's own tools how far a group has come. Advisory: returns at once, never fails, nobody reads it."""
        ...

    async def expire(self) -> int:
        """Forget what is older than the topics' retention, and return how much; a log that does so by itself: 0."""
        ...

    async def close(self) -> None: ...
