"""What is told about an event that a group could not apply: the event as it came, and headers that say what happened.

The CloudEvents attributes in its `ce_*` headers, its key and its value stay as they were, so that every tool that reads
the event reads its dead letter too. What no broker would take is left out, and a header says so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.clock import rfc3339
from shared.events.catalogue import TOPICS, dead_topic
from shared.events.codec import LARGEST_VALUE, Message

# With the largest value they stay below a broker's limit of 1 MiB, and below that of our own batches.
LARGEST_KEY = 4_000
LARGEST_HEADERS = 60_000
LONGEST_ERROR = 1_000
# What a record needs for a header beside its name and value.
_LENGTHS_OF_A_HEADER = 10

PREFIX = "dead_letter_"
HEADERS: Mapping[str, str] = {
    "dead_letter_id": "Names the dead letter, as in `salesgrain dead-letters show`; the same each time it is told.",
    "dead_letter_group": "The consumer group that could not apply the event.",
    "dead_letter_code": "`unreadable` or `handler_failed`.",
    "dead_letter_error": f"What went wrong, cut after {LONGEST_ERROR} characters.",
    "dead_letter_topic": "The topic that the event came from.",
    "dead_letter_partition": "Its partition there; -1 when the event came from its owner's export, not from the log.",
    "dead_letter_offset": "Its offset there, or -1.",
    "dead_letter_failed_at": "When it was put aside, in UTC.",
}
OMITTED = "dead_letter_omitted"
OMITTED_MEANS = (
    "Only when something had to be left out: which of `key`, `headers` and `value`, separated by commas. A key is cut, "
    "of the headers those that had no room are missing, a value is empty; the service's table has them whole."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why an event was put aside, and where it was; both places are -1 when it did not come from the log."""

    letter: UUID
    group: str
    code: str
    error: str
    partition: int
    offset: int
    failed_at: datetime


def dead_letter_message(original: Message, reason: Reason) -> Message | None:
    """Return what to tell about `original`.

    Null for a group without a topic of dead letters (a rebuild's, which forgets them), and for what itself came from
    such a topic: it has been told.
    """
    topic = dead_topic(reason.group)
    if topic not in TOPICS or _is_dead_letter(original):
        return None
    key = _cut(original.key, LARGEST_KEY)
    value = original.value if len(original.value) <= LARGEST_VALUE else b""
    headers = dict(_that_fit(original.headers))
    checks = (
        ("key", key == original.key),
        ("headers", len(headers) == sum(not name.startswith(PREFIX) for name in original.headers)),
        ("value", value == original.value),
    )
    said = _said(original, reason)
    if omitted := ",".join(name for name, is_whole in checks if not is_whole):
        said[OMITTED] = omitted
    return Message(topic, key, {**headers, **said}, value)


def _is_dead_letter(message: Message) -> bool:
    topic = TOPICS.get(message.topic)
    return topic is not None and topic.dead_letters_of is not None


def _said(original: Message, reason: Reason) -> dict[str, str]:
    return {
        "dead_letter_id": str(reason.letter),
        "dead_letter_group": reason.group,
        "dead_letter_code": reason.code,
        "dead_letter_error": reason.error[:LONGEST_ERROR],
        "dead_letter_topic": original.topic,
        "dead_letter_partition": str(reason.partition),
        "dead_letter_offset": str(reason.offset),
        "dead_letter_failed_at": rfc3339(reason.failed_at),
    }


def _that_fit(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Return as many headers as there is room for, those that make the event readable before all others.

    What an earlier dead letter said (somebody sent that one back by hand) gives way to what is said now.
    """
    room = LARGEST_HEADERS
    for name, value in sorted(headers.items(), key=lambda header: not _is_envelope(header[0])):
        size = len(name.encode()) + len(value.encode()) + _LENGTHS_OF_A_HEADER
        if size <= room and not name.startswith(PREFIX):
            room -= size
            yield name, value


def _is_envelope(name: str) -> bool:
    return name.startswith("ce_") or name == "content-type"


def _cut(text: str, limit: int) -> str:
    """Return `text`, or its beginning of at most `limit` bytes."""
    return text.encode()[:limit].decode(errors="ignore")
