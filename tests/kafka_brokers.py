"""One Kafka for a test run, shared by all its workers; where it cannot be had, the run says so in its last lines.

KAFKA_BOOTSTRAP_SERVERS names a running one instead. KAFKA=required fails a run that can have none (as CI does).
"""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from multiprocessing.connection import Client, Listener

import pytest
from aiokafka import TopicPartition as Place
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from deploy.kafka.cluster import running_kafka
from deploy.kafka.jars import LocalKafkaError, missing_tools
from shared.bus.kafka import opened_admin
from shared.bus.kafka_bus import KafkaBus
from shared.bus.kafka_faults import KafkaUnavailable
from shared.bus.kafka_topics import arrange_topics
from shared.bus.protocol import TopicPartition
from shared.events.catalogue import TOPICS, Topic

GIVEN = "KAFKA_BOOTSTRAP_SERVERS"
WISH = "KAFKA"
# Where the workers ask their controller for the broker: a socket that it listens on.
ASK = "SALESGRAIN_TEST_KAFKA"
_KEY = b"salesgrain tests"


class KafkaMissingError(Exception):
    """No Kafka can be had here; the text says why."""


class KafkaOfTheRun:
    """Belongs to the controller, which outlives its workers; started when the first test asks for it."""

    def __init__(self) -> None:
        self._held = ExitStack()
        self._answer: tuple[str, str] | None = None
        self._lock = threading.Lock()
        self._listener = Listener(family="AF_UNIX", authkey=_KEY)
        os.environ[ASK] = str(self._listener.address)
        threading.Thread(target=self._serve, daemon=True, name="kafka-of-the-run").start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                with self._listener.accept() as asking:
                    asking.send(self._servers())

    def _servers(self) -> tuple[str, str]:
        with self._lock:
            if self._answer is None:
                self._answer = self._start()
            return self._answer

    def _start(self) -> tuple[str, str]:
        try:
            kafka = self._held.enter_context(running_kafka())
            asyncio.run(kafka.wait_ready())
        except LocalKafkaError as error:
            return "", str(error)
        return kafka.servers, ""

    def end(self) -> None:
        with self._lock:
            self._answer = ("", "the run has ended")
            self._held.close()
        self._listener.close()


def servers_of_the_run() -> list[str]:
    """Return the addresses of the run's Kafka, started now when nobody has asked before; raises KafkaMissingError."""
    if given := os.environ.get(GIVEN):
        return given.split(",")
    check_tools()
    with Client(os.environ[ASK], family="AF_UNIX", authkey=_KEY) as controller:
        servers, reason = controller.recv()
    if reason:
        raise KafkaMissingError(reason)
    return [servers]


def check_tools() -> None:
    """Raise KafkaMissingError when a local broker cannot be started."""
    if missing := missing_tools():
        raise KafkaMissingError(f"{' and '.join(missing)} cannot be found")


def leave_out(missing: KafkaMissingError) -> None:
    """Skip the test, or fail it where the run must have a Kafka."""
    if os.environ.get(WISH) == "required":
        pytest.fail(f"KAFKA=required, but: {missing}")
    pytest.skip(f"no Kafka: {missing}")


def tell_what_was_left_out(reporter: pytest.TerminalReporter) -> None:
    """Say so loudly: a run without the Kafka suites has not shown what it seems to have shown."""
    left_out = [report for report in reporter.stats.get("skipped", []) if "kafka" in report.keywords]
    if left_out:
        reporter.section("KAFKA SUITES LEFT OUT", sep="!", red=True, bold=True)
        reporter.write_line(f"{len(left_out)} tests did not run: {left_out[0].longrepr[-1]}")
        reporter.write_line("install a Java runtime and Maven, or name a broker in KAFKA_BOOTSTRAP_SERVERS", red=True)


async def make_topics(
    servers: Sequence[str], prefix: str = "", topics: Mapping[str, Topic] = TOPICS, replication: int = 1
) -> None:
    """Make `topics`, and wait until every partition has a leader that answers."""
    async with opened_admin(servers) as admin:
        await arrange_topics(admin, prefix=prefix, topics=topics, replication=replication)
    bus = KafkaBus(servers, prefix, topics)
    parts = [TopicPartition(topic.name, part) for topic in topics.values() for part in range(topic.partitions)]
    deadline = time.monotonic() + 60
    try:
        while not await _all_answer(bus, parts):
            assert time.monotonic() < deadline, "the topics have no leaders"
            await asyncio.sleep(0.02)
    finally:
        await bus.close()


async def _all_answer(bus: KafkaBus, parts: Sequence[TopicPartition]) -> bool:
    try:
        await bus.prepare()
        return len(await bus.end_offsets(parts)) == len(parts)
    except KafkaUnavailable:
        return False


@asynccontextmanager
async def _admin(servers: Sequence[str]) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=list(servers))
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def leader_of(servers: Sequence[str], topic: str, partition: int) -> int:
    """Return the id of the broker that leads a partition, -1 while none does."""
    async with _admin(servers) as admin:
        (found,) = await admin.describe_topics([topic])
    return next(int(part["leader"]) for part in found["partitions"] if part["partition"] == partition)


async def committed_offsets(servers: Sequence[str], group: str) -> dict[TopicPartition, int]:
    """Return what lag tools see: the offsets that `group` has committed."""
    async with _admin(servers) as admin:
        found = await admin.list_consumer_group_offsets(group)
    return {TopicPartition(place.topic, place.partition): told.offset for place, told in found.items()}


async def delete_before(servers: Sequence[str], offsets: Mapping[TopicPartition, int]) -> None:
    """Forget the records in front of `offsets`, as retention does in time."""
    async with _admin(servers) as admin:
        await admin.delete_records({Place(*at): RecordsToDelete(offset) for at, offset in offsets.items()})
