"""Clients of Kafka 4, each bounded in time: aiokafka is imported in this file and nowhere else.

Its awaits can hang where a broker dies (reference: events.md, section 3), so none is left without a limit, and a client
that failed once is thrown away by its owner. Every fault of the surroundings is a KafkaUnavailable, an OSError: whoever
meets it tries again for ever.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as Place
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, ProducerClosed, for_code
from aiokafka.protocol.commit import OffsetCommitRequest

from shared.bus.kafka_faults import KafkaUnavailable, OffsetGone
from shared.bus.protocol import Record, TopicPartition
from shared.bus.time_limits import retrieve, within
from shared.events.codec import Message

T = TypeVar("T")

# Ours are longer than the clients' own limits: their errors say more, and they clean up behind them.
REQUEST_SECONDS = 5.0
START_SECONDS = 12.0
ANSWER_SECONDS = 6.0
# Below the six seconds after which a relay that waits would lose its lock.
PRODUCER_SECONDS = 4.0
SEND_SECONDS = 5.0
END_SECONDS = 3.0
# The largest event with its headers fits in, and a broker's default limit of 1 MiB is not passed.
LARGEST_BATCH_BYTES = 1_000_000
FETCH_WAIT_MILLISECONDS = 250
LOOK_AGAIN_SECONDS = 0.05


async def bounded(what: str, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns within `seconds`; raises KafkaUnavailable with what went wrong."""
    try:
        return await within(what, seconds, work)
    except (KafkaUnavailable, OffsetOutOfRangeError):
        raise
    # An assertion is how aiokafka says that a partition is not in the metadata it has.
    except (KafkaError, OSError, AssertionError) as error:
        raise KafkaUnavailable(f"{what}: {error!r}") from error


async def _end(*steps: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Take the steps in which a client ends, each within its time and whatever came of the one before."""
    for step in steps:
        with suppress(Exception):
            await bounded("end", END_SECONDS, step())


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
            await bounded("producer", START_SECONDS, self._producer.start())
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
            await bounded(f"send to {topic}", SEND_SECONDS, self._send(batch, topic, partition))

    async def _send(self, batch: Any, topic: str, partition: int) -> None:
        # Cancelling the future itself would upset the producer, which other sends share.
        await asyncio.shield(await self._producer.send_batch(batch, topic, partition=partition))

    async def end(self) -> None:
        """End a producer with which nothing is wrong."""
        await _end(self._producer.stop, self._producer.client.close)

    async def abandon(self) -> None:
        """End a producer that failed: what it still holds must not reach the log behind what is sent again."""
        connections, sender = self._producer.client, self._producer._sender
        await _end(connections.close, sender.close)
        # Only now, when nothing is on its way: what is still waiting would keep `stop` waiting.
        accumulator = self._producer._message_accumulator
        accumulator.fail_all(ProducerClosed())
        for batch in (one for batches in accumulator._batches.values() for one in batches):
            retrieve(batch._drain_waiter)
        await _end(self._producer.stop, connections.close)


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
            request_timeout_ms=int(REQUEST_SECONDS * 1000),
            metadata_max_age_ms=60_000,
        )

    async def start(self) -> None:
        """Connect; a start that failed is ended here."""
        try:
            await bounded("consumer", START_SECONDS, self._consumer.start())
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
            fetching = self._consumer.getmany(timeout_ms=int(timeout * 1000), max_records=limit)
            found = await bounded("fetch", timeout + ANSWER_SECONDS, fetching)
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
        return await self._offsets(parts, self._consumer.beginning_offsets)

    async def end_offsets(self, parts: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return await self._offsets(parts, self._consumer.end_offsets)

    async def _offsets(self, parts: Collection[TopicPartition], ask: Callable[..., Any]) -> dict[TopicPartition, int]:
        # Taken now: callers give views of what they own, which may change while Kafka thinks.
        places = {at: self._place(at) for at in parts}
        found = await bounded("offsets", ANSWER_SECONDS, ask([*places.values()]))
        return {at: found[place] for at, place in places.items()}

    async def end(self) -> None:
        await _end(self._consumer.stop, self._consumer._client.close)

    def _place(self, at: TopicPartition) -> Any:
        return Place(self._prefix + at.topic, at.partition)

    def _part(self, place: Any) -> TopicPartition:
        return TopicPartition(place.topic.removeprefix(self._prefix), place.partition)


def _message(topic: str, record: Any) -> Message:
    """What others put there may have no key, no value or a header that is no text: it becomes an unreadable message."""
    headers = {name.replace("\x00", "\ufffd"): _text(value) for name, value in record.headers}
    return Message(topic, _text(record.key), headers, record.value or b"")


def _text(told: bytes | None) -> str:
    """Return a text that every table takes: PostgreSQL has none with a NUL, and a dead letter needs its row."""
    return (told or b"").decode(errors="replace").replace("\x00", "\ufffd")


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
            bootstrap_servers=list(servers), request_timeout_ms=int(REQUEST_SECONDS * 1000)
        )

    async def start(self) -> None:
        await bounded("admin", START_SECONDS, self._client.start())

    async def cluster_id(self) -> str:
        return str((await self._cluster())["cluster_id"])

    async def brokers(self) -> set[int]:
        """Return the ids of the brokers that the cluster lists as living."""
        return {broker["node_id"] for broker in (await self._cluster())["brokers"]}

    async def _cluster(self) -> dict[str, Any]:
        answer: dict[str, Any] = await bounded("cluster", ANSWER_SECONDS, self._client.describe_cluster())
        return answer

    async def topics(self, names: Collection[str]) -> dict[str, FoundTopic]:
        """Return those of `names` that are there, with their settings."""
        all_topics = await bounded("topics", ANSWER_SECONDS, self._client.describe_topics(None))
        described = {one["topic"]: one for one in all_topics}
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
        answers = await bounded("topic settings", ANSWER_SECONDS, self._client.describe_configs(wanted))
        found: dict[str, dict[str, str]] = {}
        for code, text, _, name, entries in (resource for answer in answers for resource in answer.resources):
            _check(code, text)
            found[name] = {str(entry[0]): str(entry[1]) for entry in entries}
        return found

    async def create(self, name: str, partitions: int, replication: int, settings: Mapping[str, str]) -> None:
        """Make a topic; one that another process has just made is as good."""
        wanted = NewTopic(name, partitions, replication, topic_configs=dict(settings))
        answer = await bounded(f"create {name}", ANSWER_SECONDS, self._client.create_topics([wanted]))
        for _, code, *text in answer.topic_errors:
            _check(code, *text, but="TopicAlreadyExistsError")
        await bounded(f"create {name}", START_SECONDS, self._seen(name, partitions))

    async def add_partitions(self, name: str, total: int) -> None:
        adding = self._client.create_partitions({name: NewPartitions(total)})
        await bounded(f"partitions of {name}", ANSWER_SECONDS, adding)
        await bounded(f"partitions of {name}", START_SECONDS, self._seen(name, total))

    async def _seen(self, name: str, partitions: int) -> None:
        """Return once the brokers tell what the controller has decided."""
        while True:
            described = {one["topic"]: one for one in await self._client.describe_topics(None)}
            if name in described and len(described[name]["partitions"]) >= partitions:
                return
            await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def commit(self, group: str, offsets: Mapping[str, Mapping[int, int]]) -> None:
        """Record how far a group without members has come: topic -> partition -> offset of the next record."""
        topics = [(topic, [(part, at, "") for part, at in parts.items()]) for topic, parts in offsets.items()]
        unbound = (OffsetCommitRequest.DEFAULT_GENERATION_ID, "", OffsetCommitRequest.DEFAULT_RETENTION_TIME)
        request = OffsetCommitRequest(group, *unbound, topics)
        coordinator = await bounded("coordinator", ANSWER_SECONDS, self._client.find_coordinator(group))
        sending = self._client._send_request_to_node(coordinator, request)
        answer = await bounded(f"commit of {group}", ANSWER_SECONDS, sending)
        for code in (code for _, parts in answer.topics for _, code in parts):
            _check(code, group)

    async def close(self) -> None:
        await _end(self._client.close)


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
