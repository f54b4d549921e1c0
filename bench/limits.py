"""The raw loops: the cheapest honest programs that do the same durable work. They are what our rates are divided by."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from bench.load import Load, summary
from shared.events.codec import Message, decode
from shared.events.pipeline import DealEvent
from shared.ids import new_id

Pool = Any
PAYLOAD = b'{"deal":"' + b"x" * 480 + b'"}'

SCHEMA = """
DROP TABLE IF EXISTS raw_deal, raw_history, raw_outbox, raw_staging, raw_cell, raw_log, raw_partition;
CREATE TABLE raw_deal (id uuid PRIMARY KEY, version bigint NOT NULL, stage text, changed_at timestamptz);
CREATE TABLE raw_history (deal_id uuid, version bigint, stage text, value bytea, PRIMARY KEY (deal_id, version));
CREATE TABLE raw_outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text NOT NULL, value bytea NOT NULL);
CREATE TABLE raw_staging (id uuid, stage text, value bytea);
CREATE TABLE raw_cell (kpi text, scope text, day int, num bigint, n bigint, PRIMARY KEY (kpi, scope, day))
  WITH (fillfactor=70);
CREATE TABLE raw_partition (part int PRIMARY KEY, next_off bigint NOT NULL);
CREATE TABLE raw_log (part int, off bigint, key text, headers jsonb, value bytea, PRIMARY KEY (part, off));
INSERT INTO raw_partition SELECT generate_series(0, 3), 0;
"""

ONE_STATEMENT = """
WITH moved AS (
  UPDATE raw_deal SET version = version + 1, stage = $2, changed_at = clock_timestamp() WHERE id = $1
  RETURNING id, version
), history AS (
  INSERT INTO raw_history SELECT id, version, $2, $3 FROM moved
)
INSERT INTO raw_outbox (key, value) SELECT id::text, $3 FROM moved
"""


async def prepare(pool: Pool, deals: int) -> list[UUID]:
    """Make the raw tables with `deals` deals; return their ids."""
    await pool.execute(SCHEMA)
    ids = [new_id() for _ in range(deals)]
    await pool.execute("INSERT INTO raw_deal SELECT unnest($1::uuid[]), 1, 'a', now()", ids)
    return ids


async def six_trips(pool: Pool, ids: Sequence[UUID], clients: int, seconds: float) -> Load:
    """BEGIN, SELECT FOR UPDATE, UPDATE, INSERT history, INSERT outbox, COMMIT: what most programs do."""

    async def move(connection: Any, deal: UUID) -> None:
        async with connection.transaction():
            row = await connection.fetchrow("SELECT version FROM raw_deal WHERE id = $1 FOR UPDATE", deal)
            version = row["version"] + 1
            await connection.execute(
                "UPDATE raw_deal SET version = $2, stage = 'b', changed_at = now() WHERE id = $1", deal, version
            )
            await connection.execute("INSERT INTO raw_history VALUES ($1, $2, 'b', $3)", deal, version, PAYLOAD)
            await connection.execute("INSERT INTO raw_outbox (key, value) VALUES ($1, $2)", str(deal), PAYLOAD)

    return await _loop(pool, ids, clients, seconds, move)


async def one_statement(pool: Pool, ids: Sequence[UUID], clients: int, seconds: float) -> Load:
    """The same in one statement."""

    async def move(connection: Any, deal: UUID) -> None:
        await connection.execute(ONE_STATEMENT, deal, "b", PAYLOAD)

    return await _loop(pool, ids, clients, seconds, move)


async def _loop(pool: Pool, ids: Sequence[UUID], clients: int, seconds: float, move: Any) -> Load:
    stop = time.perf_counter() + seconds

    async def client(number: int) -> list[float]:
        times: list[float] = []
        own = ids[number::clients]
        turn = 0
        async with pool.acquire() as connection:
            while (began := time.perf_counter()) < stop:
                await move(connection, own[turn % len(own)])
                turn += 1
                times.append(time.perf_counter() - began)
        return times

    found = await asyncio.gather(*(client(number) for number in range(clients)))
    return summary([entry for times in found for entry in times], seconds)


async def copy_rows(connection: Any, rows: int) -> float:
    """COPY `rows` into a staging table and spread them over deal, history and outbox (two events each); rows/s."""
    records = [(new_id(), "won", PAYLOAD) for _ in range(rows)]
    began = time.perf_counter()
    for start in range(0, rows, 2000):
        async with connection.transaction():
            await connection.execute("TRUNCATE raw_staging")
            await connection.copy_records_to_table("raw_staging", records=records[start : start + 2000])
            await connection.execute("INSERT INTO raw_deal SELECT id, 2, stage, now() FROM raw_staging")
            await connection.execute(
                "INSERT INTO raw_history SELECT id, v, stage, value FROM raw_staging, generate_series(1, 2) AS v"
            )
            await connection.execute(
                "INSERT INTO raw_outbox (key, value) SELECT id::text, value FROM raw_staging, generate_series(1, 2)"
            )
    return rows / (time.perf_counter() - began)


async def relay_rows(connection: Any, messages: Sequence[Message]) -> float:
    """Read an outbox, append to a log under a locked counter, delete; batches of 500; return rows per second."""
    await connection.execute("TRUNCATE raw_outbox, raw_log")
    await connection.execute(
        "INSERT INTO raw_outbox (key, value) SELECT * FROM unnest($1::text[], $2::bytea[])",
        [message.key for message in messages],
        [message.value for message in messages],
    )
    headers = msgspec.json.encode(messages[0].headers).decode()
    began = time.perf_counter()
    while rows := await connection.fetch("SELECT id, key, value FROM raw_outbox ORDER BY id LIMIT 500"):
        await connection.execute(
            """
            WITH held AS (
              UPDATE raw_partition SET next_off = next_off + $1 WHERE part = 0 RETURNING next_off - $1 AS base
            )
            INSERT INTO raw_log SELECT 0, held.base + o - 1, k, $4::jsonb, v
            FROM held, unnest($2::text[], $3::bytea[]) WITH ORDINALITY x(k, v, o)
            """,
            len(rows),
            [row["key"] for row in rows],
            [row["value"] for row in rows],
            headers,
        )
        await connection.execute("DELETE FROM raw_outbox WHERE id = ANY($1)", [row["id"] for row in rows])
    return len(messages) / (time.perf_counter() - began)


Cells = Callable[[DealEvent], Sequence[tuple[str, str, int]]]


async def fold_rows(connection: Any, messages: Sequence[Message], cells_of: Cells) -> float:
    """Decode, sum into cells in a dict, upsert them sorted; batches of 500; return events per second.

    `cells_of(event)` gives the (kpi, scope, day) keys that an event touches: as many as ours touch.
    """
    await connection.execute("TRUNCATE raw_cell")
    began = time.perf_counter()
    for start in range(0, len(messages), 500):
        await fold_batch(connection, messages[start : start + 500], cells_of)
    return len(messages) / (time.perf_counter() - began)


async def fold_batch(connection: Any, messages: Sequence[Message], cells_of: Cells) -> None:
    """One batch of `fold_rows`."""
    sums: dict[tuple[str, str, int], list[int]] = {}
    for message in messages:
        event = decode(message)
        if isinstance(event, DealEvent):
            for cell in cells_of(event):
                held = sums.setdefault(cell, [0, 0])
                held[0] += event.deal.amount or 0
                held[1] += 1
    keys = sorted(sums)
    await connection.execute(
        """
        INSERT INTO raw_cell SELECT * FROM unnest($1::text[], $2::text[], $3::int[], $4::bigint[], $5::bigint[])
        ON CONFLICT (kpi, scope, day) DO UPDATE SET num = raw_cell.num + excluded.num, n = raw_cell.n + excluded.n
        """,
        [key[0] for key in keys],
        [key[1] for key in keys],
        [key[2] for key in keys],
        [sums[key][0] for key in keys],
        [sums[key][1] for key in keys],
    )


async def open_pool(url: str) -> Pool:
    """Return an asyncpg pool of 32 connections to a SQLAlchemy URL."""
    return await asyncpg.create_pool(url.replace("+asyncpg", ""), min_size=1, max_size=32)
