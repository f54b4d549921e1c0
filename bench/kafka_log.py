"""The log in Kafka: relay and KPI consumer against raw loops, on one local broker and the PostgreSQL of the others."""

import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

from bench import kafka_limits, limits
from bench.databases import create_platform_tables, make_database
from bench.report import Row
from bench.scenarios import BATCH, event_cells
from deploy.kafka.cluster import running_kafka
from services.kpi.consumers import subscriptions
from services.kpi.store.numbers import Numbers
from services.kpi.use_cases.counting import Counting
from shared.bus.consumer import Consumer
from shared.bus.kafka import opened_admin
from shared.bus.kafka_bus import KafkaBus
from shared.bus.kafka_topics import arrange_topics
from shared.bus.relay import Relay
from shared.db.engine import Database, Signal
from shared.db.migrations import upgrade
from shared.db.outbox import announce_messages
from shared.events.codec import Message
from shared.events.pipeline import DEALS

JOINING_POLL_SECONDS = 0.05


class EmptyHistory:
    """The export of an owner that has nothing: what is to be counted stands in the log alone."""

    async def pages(self, _topic: str) -> AsyncIterator[Sequence[Message]]:
        nothing: tuple[Sequence[Message], ...] = ()
        for page in nothing:
            yield page

    async def after(self, _topic: str, _stream: str, _version: int) -> Sequence[Message]:
        return []


async def measure(data_dir: Path, messages: Sequence[Message], rounds: int) -> list[Row]:
    """Start a broker and measure both; raises LocalKafkaError where none can be had."""
    with running_kafka() as kafka:
        await kafka.wait_ready()
        servers = kafka.servers.split(",")
        return await relay(data_dir, servers, messages, rounds) + await fold(data_dir, servers, messages, rounds)


async def relay(data_dir: Path, servers: Sequence[str], messages: Sequence[Message], rounds: int) -> list[Row]:
    """Outbox to Kafka: both read 500 rows, send a batch to each partition, wait for the acknowledgements, delete."""
    url = await make_database(data_dir, "bench_relay")
    await create_platform_tables(url)
    database = Database(url, "bench")
    pool = await limits.open_pool(await make_database(data_dir, "bench_raw"))
    await limits.prepare(pool, 1)
    ours: list[float] = []
    raw: list[float] = []
    async with _log(servers, "relay.") as bus, pool.acquire() as connection:
        sending = Relay(database, bus, "bench")
        # As in the raw loop, the first one of all makes the producer and waits for metadata.
        await _fill(database, messages[:1])
        await sending.step()
        for _ in range(rounds):
            raw.append(await kafka_limits.relay_rows(connection, messages, servers, f"relay.{DEALS}"))
            await _fill(database, messages)
            began = time.perf_counter()
            while await sending.step():
                pass
            ours.append(len(messages) / (time.perf_counter() - began))
        await sending.close()
    await database.close()
    await pool.close()
    return [_row("relay, outbox to Kafka", ours, "read, send_batch, delete", raw)]


async def _fill(database: Database, messages: Sequence[Message]) -> None:
    for start in range(0, len(messages), BATCH):
        async with database.transaction() as tx:
            await announce_messages(tx, messages[start : start + BATCH])


async def fold(data_dir: Path, servers: Sequence[str], messages: Sequence[Message], rounds: int) -> list[Row]:
    """Kafka to committed KPI cells: both read what is there and commit cells with offsets, 500 events at a time."""
    pool = await limits.open_pool(await make_database(data_dir, "bench_raw"))
    await limits.prepare(pool, 1)
    ours: list[float] = []
    raw: list[float] = []
    for turn in range(rounds):
        async with _log(servers, f"fold{turn}.") as bus, pool.acquire() as connection:
            ours.append(await _consumed(data_dir, bus, messages))
            raw.append(
                await kafka_limits.fold_log(connection, servers, f"fold{turn}.{DEALS}", len(messages), event_cells)
            )
    await pool.close()
    return [_row("KPI, Kafka to committed cells", ours, "read, decode, sum, upsert", raw)]


async def _consumed(data_dir: Path, bus: KafkaBus, messages: Sequence[Message]) -> float:
    """Let a consumer of kpi's join over an empty log, fill the log, and time it; events per second."""
    url = await make_database(data_dir, "bench_kpi")
    await upgrade(url, "kpi")
    database = Database(url, "bench")
    (subscription,) = subscriptions(Counting(Numbers(database), ZoneInfo("Asia/Shanghai")), Signal())
    consumer = Consumer(database, bus, subscription, EmptyHistory())
    try:
        await consumer.step(JOINING_POLL_SECONDS)
        while consumer.waits_for():
            await consumer.step(JOINING_POLL_SECONDS)
        for start in range(0, len(messages), BATCH):
            await bus.append(messages[start : start + BATCH])
        began = time.perf_counter()
        left = len(messages)
        while left:
            left -= await consumer.step()
        return len(messages) / (time.perf_counter() - began)
    finally:
        await consumer.close()
        await database.close()


@asynccontextmanager
async def _log(servers: Sequence[str], prefix: str) -> AsyncIterator[KafkaBus]:
    async with opened_admin(servers) as admin:
        await arrange_topics(admin, prefix=prefix)
    bus = KafkaBus(servers, prefix)
    await bus.prepare()
    try:
        yield bus
    finally:
        await bus.close()


def _row(what: str, ours: Sequence[float], limit: str, raw: Sequence[float]) -> Row:
    return Row(what, statistics.median(ours), limit, statistics.median(raw), 0.5)
