"""The Bus on Kafka: partitions by our own hash, offsets by number, a producer that is made anew after any fault."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID, uuid5

from shared.bus.kafka import KafkaFetcher, KafkaSender, opened_admin
from shared.bus.kafka_faults import KafkaUnavailable
from shared.bus.kafka_progress import KafkaProgress
from shared.bus.kafka_reader import KafkaReader
from shared.bus.partitioner import partition_of
from shared.bus.protocol import TopicPartition
from shared.db.faultpoints import faultpoint
from shared.events.catalogue import TOPICS, Topic
from shared.events.codec import Message
from shared.logging import get_logger

log = get_logger(__name__)

_LOGS = UUID("0c6c5f6e-3f0b-5b57-9d0f-2f6c1c1d2f4a")


class KafkaBus:
    """A log in a Kafka cluster. With a `prefix`, several logs share a cluster: it stands before each topic's name."""

    def __init__(self, servers: Sequence[str], prefix: str = "", topics: Mapping[str, Topic] = TOPICS) -> None:
        self._servers = tuple(servers)
        self._prefix = prefix
        self._topics = topics
        self._id: str | None = None
        self._sender: KafkaSender | None = None
        self._observer: KafkaFetcher | None = None
        self._appending = asyncio.Lock()
        # One client at a time is being made; many may use it.
        self._making = asyncio.Lock()
        self._readers: set[KafkaReader] = set()
        self._progress = KafkaProgress(servers, prefix)
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def id(self) -> str:
        """A UUID made of the cluster's own id and the prefix."""
        if self._id is None:
            message = "prepare() comes before any use of the log"
            raise RuntimeError(message)
        return self._id

    async def prepare(self) -> None:
        """Learn which log this is, and that its topics are there; raises KafkaUnavailable while they are not."""
        async with opened_admin(self._servers) as admin:
            cluster = await admin.cluster_id()
            found = await admin.topics([self._prefix + name for name in self._topics])
        for topic in self._topics.values():
            there = found.get(self._prefix + topic.name)
            if there is None or there.partitions < topic.partitions:
                have = "is not there" if there is None else f"has {there.partitions} partitions"
                raise KafkaUnavailable(f"topic {self._prefix}{topic.name} {have}: run `salesgrain topics`")
        self._id = str(uuid5(_LOGS, f"{cluster}/{self._prefix}"))

    @property
    def topics(self) -> Collection[str]:
        return self._topics.keys()

    def partitions(self, topic: str) -> int:
        return self._topics[topic].partitions

    async def append(self, messages: Sequence[Message]) -> None:
        """Append all `messages`, or a prefix per key; raises KeyError for an unknown topic, and KafkaUnavailable."""
        if not messages:
            return
        by_partition: dict[TopicPartition, list[Message]] = defaultdict(list)
        for message in messages:
            part = partition_of(message.key, self.partitions(message.topic))
            by_partition[TopicPartition(message.topic, part)].append(message)
        faultpoint("bus.append")
        # One after the other: the time limits of the clients count from when it is their turn.
        async with self._appending:
            await self._send(by_partition)
        faultpoint("bus.appended")

    async def _send(self, by_partition: Mapping[TopicPartition, Sequence[Message]]) -> None:
        sender = await self._connected_sender()
        try:
            await asyncio.gather(
                *(sender.send(self._prefix + at.topic, at.partition, some) for at, some in by_partition.items())
            )
        except BaseException:
            # Also when cancelled: nobody knows then what is on its way, and a hole in its sequence never closes.
            self._sender = None
            self._end_later(sender)
            raise

    def reader(self, topics: Collection[str]) -> KafkaReader:
        reader = KafkaReader(frozenset(topics), self._open_fetcher, self._readers.discard)
        self._readers.add(reader)
        return reader

    async def low_offsets(self, parts: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        observer = await self._connected_observer()
        try:
            return await observer.low_offsets(parts)
        except BaseException:
            await self._drop_observer(observer)
            raise

    async def end_offsets(self, parts: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        observer = await self._connected_observer()
        try:
            return await observer.end_offsets(parts)
        except BaseException:
            await self._drop_observer(observer)
            raise

    def tell(self, group: str, positions: Mapping[TopicPartition, int]) -> None:
        """Commit `positions` as the group's offsets, when there is time; the group's members never read them."""
        self._progress.tell(group, positions)

    async def expire(self) -> int:
        """Kafka keeps the retention of its topics by itself."""
        return 0

    async def close(self) -> None:
        """End all clients, those of the readers too; bounded in time."""
        sender, self._sender = self._sender, None
        observer, self._observer = self._observer, None
        endings = [self._progress.close(), *(reader.close() for reader in tuple(self._readers))]
        if sender is not None:
            endings.append(sender.end())
        if observer is not None:
            endings.append(observer.end())
        await asyncio.gather(*endings, *self._ending)

    async def _open_fetcher(self) -> KafkaFetcher:
        fetcher = KafkaFetcher(self._servers, self._prefix)
        await fetcher.start()
        return fetcher

    async def _connected_sender(self) -> KafkaSender:
        if self._sender is None:
            sender = KafkaSender(self._servers)
            await sender.start()
            self._sender = sender
        return self._sender

    async def _connected_observer(self) -> KafkaFetcher:
        async with self._making:
            if self._observer is None:
                self._observer = await self._open_fetcher()
            return self._observer

    async def _drop_observer(self, observer: KafkaFetcher) -> None:
        if self._observer is observer:
            self._observer = None
            await observer.end()

    def _end_later(self, sender: KafkaSender) -> None:
        """The one who waits for an append must learn at once that it failed."""
        ending = asyncio.create_task(sender.abandon(), name="abandon-producer")
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
