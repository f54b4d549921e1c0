"""The relay: sends a service's outbox to the bus, in order, and deletes what the bus has acknowledged.

It keeps no cursor and no floor: it always reads from the lowest id, so a row that becomes visible late is only late.
Dying between acknowledgement and deletion sends again; first occurrences stay in order, duplicates are the readers'.
"""

import asyncio
import time
from collections.abc import Sequence

from sqlalchemy import text

from shared.bus.backoff import Backoff
from shared.bus.ownership import CHECK_SECONDS, Ownership
from shared.bus.protocol import Bus
from shared.db.arrays import int_array
from shared.db.engine import Database
from shared.db.errors import is_infrastructure
from shared.db.faultpoints import faultpoint
from shared.db.statements import Statement
from shared.events.codec import Message
from shared.events.headers import WrittenHeaders
from shared.logging import get_logger
from shared.metrics import OUTBOX_OLDEST_AGE, OUTBOX_PENDING, OUTBOX_PUBLISHED

log = get_logger(__name__)

LARGEST_BATCH = 500
BUSY_POLL_SECONDS = 0.05
IDLE_POLL_SECONDS = 0.2
BUSY_FOR_SECONDS = 1.0
# What comes within this time goes together: a batch of many costs hardly more than one of one, all the way to notify.
GATHER_SECONDS = 0.02
MEASURE_SECONDS = 5.0
LARGEST_COUNT = 100_000

# What a newer release told in a topic of its own waits for that release: it must hold up nothing else.
_READ = Statement(
    "SELECT id, topic, key, headers::text, value FROM outbox WHERE topic = ANY(CAST($2 AS text[])) ORDER BY id LIMIT $1"
)
_DELETE = Statement("DELETE FROM outbox WHERE id = ANY(CAST(CAST($1 AS text) AS bigint[]))")
# id, topic, key, headers as text, value
OutboxRow = tuple[int, str, str, str, bytes]
_MEASURE = text(
    """
    SELECT (SELECT count(*) FROM (SELECT FROM outbox LIMIT :most) AS waiting) AS pending,
           (SELECT extract(epoch FROM clock_timestamp() - created_at) FROM outbox ORDER BY id LIMIT 1) AS age,
           (SELECT topic FROM outbox WHERE topic <> ALL(:topics) LIMIT 1) AS unknown
    """
)


class Relay:
    """At most one of a service sends (session lock in the service's database); the others stand by."""

    def __init__(self, database: Database, bus: Bus, service: str) -> None:
        self._database = database
        self._bus = bus
        self._service = service
        self._topics = [*bus.topics]
        self._ownership = Ownership(database, f"relay:{service}")
        self._busy_until = 0.0
        self._measure_at = 0.0

    async def run(self) -> None:
        """Relay until cancelled; failures are tried again for ever, later and later."""
        backoff = Backoff()
        try:
            while True:
                try:
                    await self._turn()
                    backoff.reset()
                except Exception as error:  # noqa: BLE001 - see below
                    # The boundary of the relay: an outbox must be sent some day, whatever is wrong now.
                    level = "warning" if is_infrastructure(error) else "exception"
                    getattr(log, level)("relay_failed", service=self._service, error=repr(error))
                    await backoff.wait()
        finally:
            await self._ownership.close()

    async def _turn(self) -> None:
        if not await self._ownership.refresh():
            await asyncio.sleep(CHECK_SECONDS)
            return
        await self._measure()
        sent = await self.step()
        now = time.monotonic()
        if sent:
            self._busy_until = now + BUSY_FOR_SECONDS
            if sent < LARGEST_BATCH:
                await asyncio.sleep(GATHER_SECONDS)
        else:
            pause = BUSY_POLL_SECONDS if now < self._busy_until else IDLE_POLL_SECONDS
            await self._database.outbox_written.wait(pause)

    async def step(self) -> int:
        """Send one batch from the lowest id and delete it once acknowledged; returns its number of rows."""
        rows = await _READ.fetch_alone(self._database, LARGEST_BATCH, self._topics)
        if not rows:
            return 0
        faultpoint("relay.read")
        await self.deliver(rows)
        OUTBOX_PUBLISHED.labels(self._service).inc(len(rows))
        return len(rows)

    async def deliver(self, rows: Sequence[OutboxRow]) -> None:
        """Send, wait for the acknowledgement, and only then delete."""
        await self._send(rows)
        faultpoint("relay.sent")
        await self._delete(rows)
        faultpoint("relay.deleted")

    async def _send(self, rows: Sequence[OutboxRow]) -> None:
        await self._bus.append(
            [Message(topic, key, WrittenHeaders(headers), value) for _, topic, key, headers, value in rows]
        )

    async def _delete(self, rows: Sequence[OutboxRow]) -> None:
        await _DELETE.execute_alone(self._database, int_array(number for number, *_ in rows))

    async def _measure(self) -> None:
        if time.monotonic() < self._measure_at:
            return
        self._measure_at = time.monotonic() + MEASURE_SECONDS
        async with self._database.autocommit() as connection:
            row = (await connection.execute(_MEASURE, {"most": LARGEST_COUNT, "topics": self._topics})).one()
        if row.unknown is not None:
            log.warning("outbox_topic_unknown", service=self._service, topic=row.unknown)
        OUTBOX_PENDING.labels(self._service).set(row.pending)
        OUTBOX_OLDEST_AGE.labels(self._service).set(max(0.0, float(row.age or 0)))

    async def close(self) -> None:
        """Let another member relay; for relays that are stepped, `run` does it by itself."""
        await self._ownership.close()
