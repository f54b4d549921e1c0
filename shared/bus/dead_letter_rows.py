"""Dead letters as rows: the events that could not be applied, with everything needed to try again.

Each is announced to its group's topic of dead letters through the outbox, in the transaction that writes its row.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self
from uuid import UUID, uuid5

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.bus.arrivals import Arrival
from shared.db.outbox import announce_messages
from shared.events.codec import Message
from shared.events.dead_letters import Reason, dead_letter_message
from shared.logging import get_logger
from shared.metrics import DEAD_LETTERS

log = get_logger(__name__)

_NAMESPACE = UUID("b7c2a5a1-6a5a-5d0c-8a43-5f0e3f1f9c77")
LONGEST_ERROR = 4000
UNREADABLE = "unreadable"
HANDLER_FAILED = "handler_failed"

# A redelivered poison, or one that failed again, is the same dead letter; it waits again. One that has been waiting is
# not news: only those that were not are returned, in the order they came in.
_KEEP = text(
    """
    WITH waiting AS (
        SELECT id FROM dead_letter WHERE id = ANY(CAST(:ids AS uuid[])) AND replayed_at IS NULL
    ), kept AS (
        INSERT INTO dead_letter (id, grp, part, off, stream, version, topic, key, headers, value, code, error)
        SELECT id, grp, part, off, stream, version, topic, key, headers::jsonb, value, code, error
        FROM unnest(CAST(:ids AS uuid[]), CAST(:groups AS text[]), CAST(:parts AS int[]), CAST(:offs AS bigint[]),
                    CAST(:streams AS text[]), CAST(:versions AS bigint[]), CAST(:topics AS text[]),
                    CAST(:keys AS text[]), CAST(:headers AS text[]), CAST(:values AS bytea[]),
                    CAST(:codes AS text[]), CAST(:errors AS text[]))
             AS n (id, grp, part, off, stream, version, topic, key, headers, value, code, error)
        ORDER BY id
        ON CONFLICT (id) DO UPDATE
        SET code = excluded.code, error = excluded.error, failed_at = clock_timestamp(), replayed_at = NULL
        RETURNING id, failed_at
    )
    SELECT id, failed_at FROM kept WHERE id NOT IN (SELECT id FROM waiting)
    ORDER BY array_position(CAST(:ids AS uuid[]), id)
    """
)
_headers = msgspec.json.Decoder(dict[str, str])


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that a group could not apply. `partition` and `offset` are -1 when it did not come from the log."""

    id: UUID
    group: str
    partition: int
    offset: int
    stream: str | None
    version: int | None
    message: Message
    code: str
    error: str
    failed_at: datetime | None = None
    replayed_at: datetime | None = None

    @property
    def type(self) -> str:
        return self.message.headers.get("ce_type", "")

    @property
    def reason(self) -> Reason:
        """What is announced beside the message; needs `failed_at`, so it is for letters that have their row."""
        if self.failed_at is None:
            raise ValueError(str(self.id))
        return Reason(
            letter=self.id, group=self.group, code=self.code, error=self.error, partition=self.partition,
            offset=self.offset, failed_at=self.failed_at,
        )  # fmt: skip

    @classmethod
    def of(cls, group: str, arrival: Arrival, code: str, error: str) -> Self:
        """Return the dead letter of an arrival; its id is the same each time the same event fails."""
        record, envelope = arrival.record, arrival.envelope
        stream, version = (envelope.stream, envelope.version) if envelope is not None else (None, None)
        name = (
            f"{group}|{record.message.topic}|{stream}@{version}"
            if envelope is not None
            else f"{group}|{record.at.topic}|{record.at.partition}|{record.offset}|{record.message.value!r}"
        )
        place = (record.at.partition, record.offset)
        clean = error[:LONGEST_ERROR].replace("\x00", "").encode(errors="replace").decode()
        return cls(uuid5(_NAMESPACE, name), group, *place, stream, version, record.message, code, clean)

    @classmethod
    def from_row(cls, row: "Row[tuple[object, ...]]") -> Self:
        """Return the dead letter of a row of `dead_letter` with `headers_text`."""
        message = Message(row.topic, row.key, _headers.decode(row.headers_text), row.value)
        place = (row.part, row.off, row.stream, row.version)
        return cls(row.id, row.grp, *place, message, row.code, row.error, row.failed_at, row.replayed_at)


async def keep_dead_letters(tx: AsyncConnection, letters: Sequence[DeadLetter]) -> None:
    """Write and announce dead letters within the transaction that passes over their events.

    One that has been waiting already is not announced again.
    """
    if not letters:
        return
    unique = {letter.id: letter for letter in letters}
    new = (await tx.execute(_KEEP, _columns([*unique.values()]))).all()
    await announce_messages(tx, _announcements(replace(unique[row.id], failed_at=row.failed_at) for row in new))
    for letter in unique.values():
        DEAD_LETTERS.labels(letter.group).inc()
        log.error(
            "dead_letter", id=str(letter.id), group=letter.group, type=letter.type, stream=letter.stream,
            version=letter.version, code=letter.code, error=letter.error,
        )  # fmt: skip


def _announcements(letters: Iterable[DeadLetter]) -> list[Message]:
    messages = (dead_letter_message(letter.message, letter.reason) for letter in letters)
    return [message for message in messages if message is not None]


def _columns(letters: Sequence[DeadLetter]) -> Mapping[str, Sequence[object]]:
    return {
        "ids": [letter.id for letter in letters],
        "groups": [letter.group for letter in letters],
        "parts": [letter.partition for letter in letters],
        "offs": [letter.offset for letter in letters],
        "streams": [letter.stream for letter in letters],
        "versions": [letter.version for letter in letters],
        "topics": [letter.message.topic for letter in letters],
        "keys": [letter.message.key for letter in letters],
        "headers": [msgspec.json.encode(letter.message.headers).decode() for letter in letters],
        "values": [letter.message.value for letter in letters],
        "codes": [letter.code for letter in letters],
        "errors": [letter.error for letter in letters],
    }
