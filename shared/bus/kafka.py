"""Clients of Kafka 4, each bounded in time: aiokafka is imported in this file and nowhere else.

Its awaits can hang where a broker dies (reference: events.md, section 3), so none is left without a limit, and a client
that failed once is thrown away by its owner. Every fault of the surroundings is a KafkaUnavailable, an OSError: whoever
meets it tries again for ever.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as Place
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, ProducerClosed, for_code

from shared.bus.protocol import Record, TopicPartition
from shared.events.codec import Message

START_SECONDS = 8.0
ANSWER_SECONDS = 5.0
# Longer than the producer's own limit, whose error says more than ours.
PRODUCER_SECONDS = 10.0
SEND_SECONDS = 12.0
END_SECONDS = 3.0
# The largest event with its headers fits in, and a broker's default limit of 1 MiB is not passed.
LARGEST_BATCH_BYTES = 1_000_000
FETCH_WAIT_MILLISECONDS = 250


class KafkaUnavailable(ConnectionError):  # noqa: N818 - the name of the fact
    """Kafka did not do what was asked, in time: trying again later may help."""


class OffsetGone(Exception):  # noqa: N818
    """The log does not have this offset."""

    def __init__(self, at: TopicPartition, wanted: int) -> None:
        super().__init__(f"{at.topic}/{at.partition} has no offset {wanted}")
        self.at = at
        self.wanted = wanted


@asynccontextmanager
async def bounded(what: str, seconds: float) -> AsyncIterator[None]:
    """Run the block for at most `seconds`; raises KafkaUnavailable with what went wrong."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise KafkaUnavailable(f"{what}: no answer within {seconds:g} s") from error
    except OffsetOutOfRangeError:
        raise
    # An assertion is how aiokafka says that a partition is not in the metadata it has.
    except (KafkaError, OSError, AssertionError) as error:
        raise KafkaUnavailable(f"{what}: {error!r}") from error


async def _end(client: Any) -> None:
    """Stop a client that may hang in it; its connections are closed in any case."""
    with suppress(KafkaUnavailable):
        async with bounded("stop", END_SECONDS):
            await client.stop()


class KafkaSender:
    """An idempotent producer: a batch counts as sent when all replicas in sync have it."""

    def __init__(self, servers: Sequence[str]) -> None:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=list(servers),
            acks="all",
            enable_idempotence=True,
            max_batch_size=LARGEST_BATCH_BYTES,
            request_timeout_ms=int(PRODUCER_SECONDS * 1000),
            retry_backoff_ms=100,
            metadata_max_age_ms=60_000,
        )

    async def start(self) -> None:
        """Connect; a start that failed is ended here."""
        try:
            async with bounded("producer", START_SECONDS):
                await self._producer.start()
        except BaseException:
            await self.abandon()
            raise

    async def send(self, topic: str, partition: int, messages: Sequence[Message]) -> None:
        """Return once all `messages` are acknowledged; a batch leaves only after the one before it is in the log.

        Otherwise a batch that was given up would leave a hole in front of the next one.
        """
        waiting = list(reversed(messages))
        while waiting:
            batch = self._producer.create_batch()
            while waiting and _append(batch, waiting[-1]):
                waiting.pop()
            if not batch.record_count():
                raise ValueError(f"a message of {topic} with {len(waiting[-1].value)} bytes fits into no batch")
            batch.close()
            async with bounded(f"send to {topic}", SEND_SECONDS):
                # Cancelling the future itself would upset the producer, which we share with other sends.
                await asyncio.shield(await self._producer.send_batch(batch, topic, partition=partition))

    async def end(self) -> None:
        """End a producer with which nothing is wrong."""
        await _end(self._producer)

    async def abandon(self) -> None:
        """End a producer that failed: what it still holds must not reach the log behind what is sent again."""
        self._producer._message_accumulator.fail_all(ProducerClosed())
        with suppress(KafkaUnavailable):
            async with bounded("cut", END_SECONDS):
                await self._producer.client.close()
        await _end(self._producer)


def _append(batch: Any, message: Message) -> bool:
    headers = [(name, value.encode()) for name, value in message.headers.items()]
    return batch.append(key=message.key.encode(), value=message.value, timestamp=None, headers=headers) is not None


class KafkaFetcher:
    """A consumer without a group: it reads what it is told, from where it is told."""

    def __init__(self, servers: Sequence[str], prefix: str) -> None:
        self._prefix = prefix
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=list(servers),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=FETCH_WAIT_MILLISECONDS,
            request_timeout_ms=int(PRODUCER_SECONDS * 1000),
            metadata_max_age_ms=60_000,
        )

    async def start(self) -> None:
        """Connect; a start that failed is ended here."""
        try:
            async with bounded("consumer", START_SECONDS):
                await self._consumer.start()
        except BaseException:
            await self.end()
            raise

    def assign(self, positions: Mapping[TopicPartition, int], paused: Collection[TopicPartition]) -> None:
        self._consumer.assign([self._place(at) for at in positions])
        for at, offset in positions.items():
            self.seek(at, offset)
        self.pause(paused)

    def seek(self, at: TopicPartition, offset: int) -> None:
        self._consumer.seek(self._place(at), offset)

    def pause(self, parts: Iterable[TopicPartition]) -> None:
        self._consumer.pause(*map(self._place, parts))

    def resume(self, parts: Iterable[TopicPartition]) -> None:
        self._consumer.resume(*map(self._place, parts))

    async def fetch(self, limit: int, timeout: float) -> list[Record]:
        """Return up to `limit` records, waiting at most `timeout` seconds for the first; raises OffsetGone."""
        try:
            async with bounded("fetch", timeout + ANSWER_SECONDS):
                found = await self._consumer.getmany(timeout_ms=int(timeout * 1000), max_records=limit)
        except OffsetOutOfRangeError as error:
            place, wanted = next(iter(error.args[0].items()))
            raise OffsetGone(self._part(place), wanted) from error
        return [
            Record(at, record.offset, _message(at.topic, record))
            for place, records in found.items()
            for at in (self._part(place),)
            for record in records
        ]

    async def low_offsets(self, parts: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        async with bounded("low offsets", ANSWER_SECONDS):
            found = await self._consumer.beginning_offsets([self._place(at) for at in parts])
        return {at: found[self._place(at)] for at in parts}

    async def end_offsets(self, parts: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        async with bounded("end offsets", ANSWER_SECONDS):
            found = await self._consumer.end_offsets([self._place(at) for at in parts])
        return {at: found[self._place(at)] for at in parts}

    async def end(self) -> None:
        await _end(self._consumer)

    def _place(self, at: TopicPartition) -> Any:
        return Place(self._prefix + at.topic, at.partition)

    def _part(self, place: Any) -> TopicPartition:
        return TopicPartition(place.topic.removeprefix(self._prefix), place.partition)


def _message(topic: str, record: Any) -> Message:
    """What others put there may have no key, no value or a header that is no text: it becomes an unreadable message."""
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    return Message(topic, (record.key or b"").decode(errors="replace"), headers, record.value or b"")


@dataclass(frozen=True, slots=True)
class FoundTopic:
    """A topic as the cluster has it; `settings` are those of the topic, defaults of the cluster included."""

    name: str
    partitions: int
    replication: int
    settings: Mapping[str, str]


class KafkaAdmin:
    """What an operator asks of a cluster; `opened_admin` makes one."""

    def __init__(self, servers: Sequence[str]) -> None:
        self._client = AIOKafkaAdminClient(
            bootstrap_servers=list(servers), request_timeout_ms=int(ANSWER_SECONDS * 1000)
        )

    async def start(self) -> None:
        async with bounded("admin", START_SECONDS):
            await self._client.start()

    async def cluster_id(self) -> str:
        async with bounded("cluster", ANSWER_SECONDS):
            return str((await self._client.describe_cluster())["cluster_id"])

    async def brokers(self) -> set[int]:
        """Return the ids of the brokers that the cluster lists as living."""
        async with bounded("cluster", ANSWER_SECONDS):
            return {broker["node_id"] for broker in (await self._client.describe_cluster())["brokers"]}

    async def leader(self, topic: str, partition: int) -> int:
        """Return the id of the broker that leads a partition (-1 while none does)."""
        async with bounded("topic", ANSWER_SECONDS):
            (found,) = await self._client.describe_topics([topic])
        return next(int(part["leader"]) for part in found["partitions"] if part["partition"] == partition)

    async def topics(self, names: Collection[str]) -> dict[str, FoundTopic]:
        """Return those of `names` that are there, with their settings."""
        async with bounded("topics", ANSWER_SECONDS):
            described = {one["topic"]: one for one in await self._client.describe_topics(None)}
        there = [name for name in names if name in described]
        settings = await self._settings(there)
        return {
            name: FoundTopic(
                name,
                len(described[name]["partitions"]),
                min(len(part["replicas"]) for part in described[name]["partitions"]),
                settings[name],
            )
            for name in there
        }

    async def _settings(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        wanted = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        async with bounded("topic settings", ANSWER_SECONDS):
            answers = await self._client.describe_configs(wanted)
        found: dict[str, dict[str, str]] = {}
        for code, text, _, name, entries in (resource for answer in answers for resource in answer.resources):
            _check(code, text)
            found[name] = {str(entry[0]): str(entry[1]) for entry in entries}
        return found

    async def create(self, name: str, partitions: int, replication: int, settings: Mapping[str, str]) -> None:
        """Make a topic; one that another process has just made is as good."""
        wanted = NewTopic(name, partitions, replication, topic_configs=dict(settings))
        async with bounded(f"create {name}", ANSWER_SECONDS):
            answer = await self._client.create_topics([wanted])
        for _, code, *text in answer.topic_errors:
            _check(code, *text, but="TopicAlreadyExistsError")

    async def add_partitions(self, name: str, total: int) -> None:
        async with bounded(f"partitions of {name}", ANSWER_SECONDS):
            await self._client.create_partitions({name: NewPartitions(total)})

    async def delete_before(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Forget the records in front of `offsets`, as retention does in time."""
        places = {Place(*at): RecordsToDelete(offset) for at, offset in offsets.items()}
        async with bounded("delete records", ANSWER_SECONDS):
            await self._client.delete_records(places)

    async def close(self) -> None:
        with suppress(KafkaUnavailable):
            async with bounded("close", END_SECONDS):
                await self._client.close()


def _check(code: int, *text: object, but: str = "") -> None:
    if code and for_code(code).__name__ != but:
        raise KafkaUnavailable(f"{for_code(code).__name__}: {' '.join(map(str, text))}")


@asynccontextmanager
async def opened_admin(servers: Sequence[str]) -> AsyncIterator[KafkaAdmin]:
    """Connect as an operator for the length of the block; raises KafkaUnavailable."""
    admin = KafkaAdmin(servers)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()
