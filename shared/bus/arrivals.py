"""Records as a consumer sees them: decoded as far as they can be, with what is wrong with them."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from shared.bus.protocol import Record, TopicPartition
from shared.bus.subscription import Delivery
from shared.events.base import StreamEvent
from shared.events.catalogue import CATALOGUE
from shared.events.codec import Envelope, Message, UnreadableMessage, decode, read_envelope
from shared.foreground import foreground

# Decoding shares its event loop with HTTP: it lets others run at least this often.
SLICE_SECONDS = 0.005
_LOOK_AT_CLOCK_EVERY = 16
# The place of a message that did not come from the log: an owner's export, a parked row, a dead letter.
NOWHERE = -1


@dataclass(frozen=True, slots=True)
class Arrival:
    """A record with its envelope (null when unreadable) and its delivery (null when unreadable or of unknown type).

    `stream` is the dense stream that this is an event of: None for state events and unreadable envelopes.
    """

    record: Record
    envelope: Envelope | None = None
    stream: str | None = None
    delivery: Delivery | None = None
    fault: UnreadableMessage | None = None

    @property
    def type(self) -> str:
        return self.record.message.headers.get("ce_type", "")


@cache
def dense_topics() -> frozenset[str]:
    """Return the topics that carry dense streams."""
    return frozenset(event.topic for event in CATALOGUE.values() if issubclass(event, StreamEvent))


@cache
def _is_dense(type_name: str, topic: str) -> bool:
    event = CATALOGUE.get(type_name)
    if event is None:
        # A newer owner's event of a dense stream takes its version there: its successors must not wait for it.
        return topic in dense_topics()
    return issubclass(event, StreamEvent)


def arrive(record: Record) -> Arrival:
    """Read one record; never raises."""
    message = record.message
    name = message.headers.get("ce_type", "")
    known = name in CATALOGUE
    try:
        envelope = read_envelope(message)
    except UnreadableMessage as fault:
        return Arrival(record, fault=fault if known else None)
    stream = envelope.stream if _is_dense(name, message.topic) else None
    if not known:
        return Arrival(record, envelope, stream)
    try:
        event = decode(message)
        if (event.version, event.stream) != (envelope.version, envelope.stream):
            text = f"the envelope says {envelope.stream}@{envelope.version}, the data {event.stream}@{event.version}"
            raise UnreadableMessage(text)
    except UnreadableMessage as fault:
        return Arrival(record, envelope, stream, fault=fault)
    delivery = Delivery(envelope, event, message, message.topic, record.at.partition, record.offset)
    return Arrival(record, envelope, stream, delivery)


async def arrive_all(records: Iterable[Record]) -> list[Arrival]:
    """Read `records` in slices of CPU time that leave room for others."""
    arrivals: list[Arrival] = []
    slice_ends = time.monotonic() + SLICE_SECONDS
    for number, record in enumerate(records, start=1):
        arrivals.append(arrive(record))
        if number % _LOOK_AT_CLOCK_EVERY == 0 and time.monotonic() > slice_ends:
            await foreground.give_way()
            slice_ends = time.monotonic() + SLICE_SECONDS
    return arrivals


def without_place(messages: Sequence[Message]) -> list[Record]:
    """Return records for messages that did not come from the log."""
    return [Record(TopicPartition(message.topic, NOWHERE), NOWHERE, message) for message in messages]
