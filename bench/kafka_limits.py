"""The raw loops over Kafka: aiokafka and asyncpg alone, for the same durable work as our relay and our KPI consumer."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any
from zlib import crc32

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as Place

from bench.limits import Cells, fold_batch
from shared.events.codec import Message

PARTITIONS = 4
BATCH = 500
BATCH_BYTES = 1_000_000


async def relay_rows(connection: Any, messages: Sequence[Message], servers: Sequence[str], topic: str) -> float:
    """Read an outbox, `send_batch` to each partition, wait for the acknowledgements, delete; return rows per second."""
    await connection.execute("TRUNCATE raw_outbox")
    await connection.execute(
        "INSERT INTO raw_outbox (key, value) SELECT * FROM unnest($1::text[], $2::bytea[])",
        [message.key for message in messages],
        [message.value for message in messages],
    )
    headers = [(name, value.encode()) for name, value in messages[0].headers.items()]
    producer = AIOKafkaProducer(
        bootstrap_servers=list(servers), acks="all", enable_idempotence=True, max_batch_size=BATCH_BYTES
    )
    await producer.start()
    try:
        # The first one of all waits for the metadata of its topic.
        await producer.send_and_wait(topic, b"", key=b"", partition=0)
        began = time.perf_counter()
        while rows := await connection.fetch("SELECT id, key, value FROM raw_outbox ORDER BY id LIMIT $1", BATCH):
            await _send(producer, topic, rows, headers)
            await connection.execute("DELETE FROM raw_outbox WHERE id = ANY($1)", [row["id"] for row in rows])
        return len(messages) / (time.perf_counter() - began)
    finally:
        await producer.stop()


async def _send(producer: Any, topic: str, rows: Sequence[Any], headers: Sequence[tuple[str, bytes]]) -> None:
    batches = [producer.create_batch() for _ in range(PARTITIONS)]
    for row in rows:
        key = row["key"].encode()
        batches[crc32(key) % PARTITIONS].append(key=key, value=row["value"], timestamp=None, headers=headers)
    sent = [
        await producer.send_batch(batch, topic, partition=partition)
        for partition, batch in enumerate(batches)
        if batch.record_count()
    ]
    await asyncio.gather(*sent)


async def fold_log(connection: Any, servers: Sequence[str], topic: str, events: int, cells_of: Cells) -> float:
    """Read a topic from its beginning, decode, sum, upsert cells and offsets in one transaction; events per second."""
    await connection.execute("TRUNCATE raw_cell")
    consumer = AIOKafkaConsumer(bootstrap_servers=list(servers), enable_auto_commit=False)
    await consumer.start()
    try:
        places = [Place(topic, part) for part in range(PARTITIONS)]
        consumer.assign(places)
        began = time.perf_counter()
        await consumer.seek_to_beginning(*places)
        left = events
        while left:
            polled = await consumer.getmany(timeout_ms=1000, max_records=BATCH)
            messages = [_message(record) for records in polled.values() for record in records]
            async with connection.transaction():
                await fold_batch(connection, messages, cells_of)
                for place, records in polled.items():
                    await connection.execute(
                        "UPDATE raw_partition SET next_off = $2 WHERE part = $1",
                        place.partition,
                        records[-1].offset + 1,
                    )
            left -= len(messages)
        return events / (time.perf_counter() - began)
    finally:
        await consumer.stop()


def _message(record: Any) -> Message:
    headers = {name: value.decode() for name, value in record.headers}
    return Message(record.topic, record.key.decode(), headers, record.value)
