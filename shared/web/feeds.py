"""Feeds: numbered entries in a service's database, written with the change they tell of and read by event streams."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.engine import Database

KEPT_FOR = timedelta(hours=24)
REMEMBERED = 2000
PAGE = 500
POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class FeedItem:
    """What is to be told: `scope` is `org`, `team:<id>` or `person:<owner key>`, and decides who may hear it."""

    scope: str
    event: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """An item at its number in the feed, its data as JSON text."""

    seq: int
    scope: str
    event: str
    data: str


# The counter's row stays locked until the commit: numbers become visible in their order, without holes.
_APPEND = text(
    """
    WITH counter AS (
        INSERT INTO feed_counter AS known (feed, last_seq) VALUES (:feed, :count)
        ON CONFLICT (feed) DO UPDATE SET last_seq = known.last_seq + excluded.last_seq
        RETURNING last_seq
    )
    INSERT INTO feed_entry (feed, seq, scope, event, data)
    SELECT :feed, counter.last_seq - :count + rows.ord, rows.scope, rows.event, rows.data::jsonb
    FROM counter, unnest(CAST(:scopes AS text[]), CAST(:events AS text[]), CAST(:data AS text[]))
         WITH ORDINALITY AS rows (scope, event, data, ord)
    """
)
_AFTER = text(
    "SELECT seq, scope, event, data::text AS data FROM feed_entry WHERE feed = :feed AND seq > :after "
    "ORDER BY seq LIMIT :limit"
)
_BOUNDS = text(
    """
    SELECT coalesce((SELECT last_seq FROM feed_counter WHERE feed = :feed), 0) AS last,
           (SELECT min(seq) FROM feed_entry WHERE feed = :feed) AS oldest
    """
)
_FORGET = text("DELETE FROM feed_entry WHERE created_at < :before")


async def append_to_feed(tx: AsyncConnection, feed: str, entries: Sequence[FeedItem]) -> None:
    """Append to a feed within `tx`, as its last statement: the feed's counter stays locked until the commit."""
    if entries:
        columns = {
            "feed": feed,
            "count": len(entries),
            "scopes": [entry.scope for entry in entries],
            "events": [entry.event for entry in entries],
            "data": [msgspec.json.encode(entry.data).decode() for entry in entries],
        }
        await tx.execute(_APPEND, columns)


async def forget_old_entries(tx: AsyncConnection, now: datetime) -> int:
    """Delete entries older than 24 hours; return how many. For a job of every service that has feeds."""
    return (await tx.execute(_FORGET, {"before": now - KEPT_FOR})).rowcount


class Broadcast:
    """Wakes everybody who waits, at once; the writer calls `notify` after its commit."""

    def __init__(self) -> None:
        self.count = 0
        self._event = asyncio.Event()

    def notify(self) -> None:
        self.count += 1
        event, self._event = self._event, asyncio.Event()
        event.set()

    def listen(self) -> asyncio.Event:
        """Return the event that the next `notify` sets; take it before looking, so that none is missed."""
        return self._event


class Feed:
    """A feed as this process reads it: what is new is read once for all its listeners.

    Entries of other processes are found within POLL_SECONDS, those of this one when `wake` is notified.
    """

    def __init__(self, database: Database, name: str, wake: Broadcast) -> None:
        self.name = name
        self.wake = wake
        self._database = database
        # The entries up to `_last`, without a hole.
        self._entries: deque[FeedEntry] = deque(maxlen=REMEMBERED)
        self._last = -1
        self._seen_count = -1
        self._read_at = 0.0
        self._reading = asyncio.Lock()

    async def start_of(self, told: int | None) -> tuple[int, bool]:
        """Return behind which number a listener starts who last saw `told`, and whether it has missed something."""
        async with self._database.transaction() as tx:
            bounds = (await tx.execute(_BOUNDS, {"feed": self.name})).one()
        oldest = bounds.last + 1 if bounds.oldest is None else bounds.oldest
        if told is None:
            return bounds.last, False
        missed = told > bounds.last or told < oldest - 1
        return (bounds.last, True) if missed else (told, False)

    async def after(self, seq: int) -> Sequence[FeedEntry]:
        """Return up to 500 entries behind `seq`, in order; of many listeners woken at once one asks the database."""
        wanted = self.wake.count
        async with self._reading:
            if self._last < seq:
                self._entries.clear()
                self._last = seq
            if self._seen_count < wanted or monotonic() - self._read_at > POLL_SECONDS / 2:
                await self._read_on()
        first = self._entries[0].seq if self._entries else self._last + 1
        if seq + 1 < first:
            return await self._stored_after(seq)
        return [entry for entry in self._entries if entry.seq > seq][:PAGE]

    async def _read_on(self) -> None:
        self._seen_count, self._read_at = self.wake.count, monotonic()
        while found := await self._stored_after(self._last):
            self._entries.extend(found)
            self._last = found[-1].seq

    async def _stored_after(self, seq: int) -> Sequence[FeedEntry]:
        async with self._database.transaction() as tx:
            rows = (await tx.execute(_AFTER, {"feed": self.name, "after": seq, "limit": PAGE})).all()
        return [FeedEntry(row.seq, row.scope, row.event, row.data) for row in rows]
