"""CloudEvents 1.0 in binary mode: attributes in `ce_*` headers, the event's fields as JSON in the value."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import msgspec

from shared.clock import rfc3339
from shared.events.base import Event
from shared.events.catalogue import CATALOGUE
from shared.ids import event_id_text
from shared.tracing import Cause, current_cause

CONTENT_TYPE = "application/json"
# A broker's default limit is 1 MiB for a record with its headers.
LARGEST_VALUE = 900_000
# What the tables of those who read it can hold: a bigint, and a text within an index.
LARGEST_VERSION = 2**63 - 1
LONGEST_STREAM = 2_000


@dataclass(frozen=True, slots=True)
class Message:
    """An event as bytes, before it has an offset: what outbox, bus and exports hold."""

    topic: str
    key: str
    headers: Mapping[str, str]
    value: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the headers of a message say: its identity and its cause."""

    id: str
    type: str
    stream: str
    version: int
    cause: Cause


class UnreadableMessage(ValueError):  # noqa: N818 - the name of the fact
    """A message of a known type whose envelope or data cannot be read: it belongs into the dead letters."""


class MessageTooLarge(ValueError):  # noqa: N818
    """An event whose value no broker would take; refused before the business commit."""


_encoder = msgspec.json.Encoder(decimal_format="string")


@cache
def _decoder(event: type[Event]) -> msgspec.json.Decoder[Event]:
    return msgspec.json.Decoder(event)


def encode(event: Event, cause: Cause | None = None) -> Message:
    """Return `event` as a message caused by `cause` (the current one by default); raises MessageTooLarge."""
    because = cause or current_cause()
    value = _encoder.encode(event)
    if len(value) > LARGEST_VALUE:
        message = f"{event.type} of {event.stream} has {len(value)} bytes, more than {LARGEST_VALUE}"
        raise MessageTooLarge(message)
    stream = event.stream
    headers = {
        **_fixed_headers(type(event)),
        "ce_id": event_id_text(stream, event.version),
        "ce_subject": stream,
        "ce_time": rfc3339(event.happened_at),
        "ce_sequence": str(event.version),
        "ce_correlationid": because.correlation_id,
        "ce_traceparent": because.traceparent,
    }
    if because.causation_id:
        headers["ce_causationid"] = because.causation_id
    return Message(event.topic, event.key, headers, value)


@cache
def _fixed_headers(event: type[Event]) -> Mapping[str, str]:
    return {
        "content-type": CONTENT_TYPE,
        "ce_specversion": "1.0",
        "ce_type": event.type,
        "ce_source": event.source,
    }


def read_envelope(message: Message) -> Envelope:
    """Return what the headers say; raises UnreadableMessage when one is missing, or is what no table could hold."""
    headers = message.headers
    try:
        return Envelope(
            headers["ce_id"],
            headers["ce_type"],
            _stream(headers["ce_subject"]),
            _version(headers["ce_sequence"]),
            Cause(
                headers.get("ce_correlationid", headers["ce_id"]),
                headers["ce_id"],
                headers.get("ce_traceparent", ""),
            ),
        )
    except (KeyError, ValueError) as error:
        text = f"the envelope cannot be read: {error!r}"
        raise UnreadableMessage(text) from error


def _stream(told: str) -> str:
    if "\x00" in told or len(told.encode()) > LONGEST_STREAM:
        text = f"a stream of {len(told)} characters, or with one that no table takes"
        raise ValueError(text)
    return told


def _version(told: str) -> int:
    version = int(told)
    if abs(version) > LARGEST_VERSION:
        raise ValueError(told[:40])
    return version


def decode(message: Message) -> Event:
    """Return the event of a message whose type is in the catalogue; raises UnreadableMessage."""
    name = message.headers.get("ce_type", "")
    event = CATALOGUE.get(name)
    if event is None:
        text = f"{name!r} is not in the catalogue"
        raise UnreadableMessage(text)
    try:
        return _decoder(event).decode(message.value)
    except msgspec.MsgspecError as error:
        text = f"{name} cannot be read: {error}"
        raise UnreadableMessage(text) from error
