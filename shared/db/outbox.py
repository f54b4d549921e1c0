"""The transactional outbox: events become visible to the relay exactly when the business change commits."""

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.engine import mark_outbox_written
from shared.db.statements import Statement
from shared.events.base import Event
from shared.events.codec import Message, encode

# ORDER BY ord: without it PostgreSQL may number the rows in another order, and id order must be version order per key.
_INSERT = Statement(
    """
    INSERT INTO outbox (topic, key, headers, value)
    SELECT topic, key, headers::jsonb, value
    FROM unnest(CAST($1 AS text[]), CAST($2 AS text[]), CAST($3 AS text[]), CAST($4 AS bytea[]))
         WITH ORDINALITY AS rows (topic, key, headers, value, ord)
    ORDER BY ord
    """
)


def outbox_columns(messages: Sequence[Message]) -> tuple[list[str], list[str], list[str], list[bytes]]:
    """Return the four arrays (topics, keys, headers as JSON, values) that the INSERT unnests, in the order given."""
    return (
        [message.topic for message in messages],
        [message.key for message in messages],
        [msgspec.json.encode(message.headers).decode() for message in messages],
        [message.value for message in messages],
    )


async def announce(tx: AsyncConnection, events: Iterable[Event]) -> None:
    """Write `events` to the outbox within `tx`, sorted by stream and version, caused by the current cause.

    The caller holds the locks of the streams. Raises MessageTooLarge, which refuses the whole change.
    """
    ordered = sorted(events, key=lambda event: (event.key, event.version))
    await announce_messages(tx, [encode(event) for event in ordered])


async def announce_messages(tx: AsyncConnection, messages: Sequence[Message]) -> None:
    """Write encoded messages (already in order per key) to the outbox within `tx`."""
    if messages:
        await _INSERT.execute(tx, *outbox_columns(messages))
        mark_outbox_written(tx)
