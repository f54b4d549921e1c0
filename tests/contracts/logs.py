"""The logs that a Bus can be opened on. A new implementation is one line in BUSES, and a class that opens it."""

from collections.abc import Awaitable, Callable
from typing import Protocol
from uuid import uuid4

import pytest
from sqlalchemy import text

from shared.bus.kafka_bus import KafkaBus
from shared.bus.postgres import PostgresBus
from shared.bus.protocol import Bus, TopicPartition
from shared.db.engine import Database
from shared.events.catalogue import TOPICS, dead_topic
from shared.events.pipeline import CUSTOMERS, DEALS
from tests.kafka_brokers import delete_before, make_topics

Open = Callable[[], Awaitable[Bus]]
ALL = [TopicPartition(DEALS, part) for part in range(4)]


class Log(Protocol):
    """One log, empty at first; `open` connects to it as another process would."""

    async def open(self) -> Bus: ...

    async def forget(self, bus: Bus, keep_after: Callable[[], Awaitable[None]]) -> None:
        """Let retention pass over all that is there now, but not over what `keep_after` appends."""
        ...


class PostgresLog:
    """One log in PostgreSQL."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._url = request.getfixturevalue("empty_database")()

    async def open(self) -> Bus:
        bus = PostgresBus(Database(self._url, "bus"))
        await bus.prepare()
        return bus

    async def forget(self, bus: Bus, keep_after: Callable[[], Awaitable[None]]) -> None:
        assert isinstance(bus, PostgresBus)
        await keep_after()
        database = Database(self._url, "bus")
        async with database.transaction() as tx:
            await tx.execute(text("UPDATE bus_log SET ts = ts - interval '15 days' WHERE off < 20"))
        await database.close()
        assert await bus.expire() > 0


class KafkaLog:
    """One log in the run's Kafka: topics with a prefix of their own."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self.servers = request.getfixturevalue("kafka_servers")
        self.prefix = f"{uuid4().hex[:12]}."
        self._made = False

    async def open(self) -> Bus:
        topics = {name: TOPICS[name] for name in (DEALS, CUSTOMERS, dead_topic("kpi"))}
        if not self._made:
            await make_topics(self.servers, self.prefix, topics)
            self._made = True
        bus = KafkaBus(self.servers, self.prefix, topics)
        await bus.prepare()
        return bus

    async def forget(self, bus: Bus, keep_after: Callable[[], Awaitable[None]]) -> None:
        await keep_after()
        ends = await bus.end_offsets(ALL)
        before = {TopicPartition(self.prefix + at.topic, at.partition): min(20, end) for at, end in ends.items()}
        await delete_before(self.servers, before)
        assert await bus.expire() == 0


BUSES: dict[str, Callable[[pytest.FixtureRequest], Log]] = {"postgres": PostgresLog, "kafka": KafkaLog}
