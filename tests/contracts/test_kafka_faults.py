"""What only Kafka can do to us: brokers that die, members that come and go, freeze and wake up."""

import asyncio
import contextlib
import functools
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from uuid import uuid4

import pytest
from sqlalchemy import text

from deploy.kafka.cluster import LocalKafka
from shared.bus.consumer import Consumer
from shared.bus.kafka_bus import KafkaBus
from shared.bus.kafka_faults import KafkaUnavailable
from shared.bus.offsets import Fenced
from shared.bus.protocol import Record, TopicPartition
from shared.db.engine import Database
from shared.db.errors import is_infrastructure
from shared.events.codec import Message, encode
from shared.events.pipeline import DEALS
from tests.contracts.tcp_proxy import proxied
from tests.faults.toy import World, deal_changed, deal_id, kpi_metadata, pipeline_metadata, settle, until
from tests.kafka_brokers import leader_of, make_topics

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(400)]

OUTAGE_SECONDS = float(os.environ.get("OUTAGE_SECONDS", "6"))
ALL = [TopicPartition(DEALS, part) for part in range(4)]


@contextlib.asynccontextmanager
async def toy_on(empty_database: Callable[[], str], bus: KafkaBus) -> AsyncIterator[World]:
    await bus.prepare()
    world = World(Database(empty_database(), "pipeline"), Database(empty_database(), "kpi"), bus)  # type: ignore[arg-type]
    for database, metadata in ((world.pipeline, pipeline_metadata), (world.kpi, kpi_metadata)):
        async with database.transaction() as tx:
            await tx.run_sync(metadata.create_all)
    try:
        yield world
    finally:
        await world.close()


@pytest.fixture
def prefix() -> str:
    return f"{uuid4().hex[:12]}."


@pytest.fixture
async def world(empty_database: Callable[[], str], kafka_servers: list[str], prefix: str) -> AsyncIterator[World]:
    """The toy on the run's broker."""
    await make_topics(kafka_servers, prefix)
    async with toy_on(empty_database, KafkaBus(kafka_servers, prefix)) as made:
        yield made


@contextlib.asynccontextmanager
async def at_work(*loops: Callable[[], object]) -> AsyncIterator[None]:
    """Run loops that never end within the block."""
    tasks = [asyncio.ensure_future(loop()) for loop in loops]  # type: ignore[arg-type]
    try:
        yield
        assert not [task for task in tasks if task.done()], "a loop that must never end did"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def whole(world: World) -> bool:
    try:
        return not await world.broken()
    except KafkaUnavailable:
        return False


async def test_several_members_share_the_work_and_nothing_is_lost_or_doubled(
    world: World, kafka_servers: list[str], prefix: str
) -> None:
    """Four members, each with connections of its own; they come and go while events flow."""
    databases = [Database(world.kpi.url, f"member{number}") for number in range(4)]
    buses = [KafkaBus(kafka_servers, prefix) for _ in databases]
    await asyncio.gather(*(bus.prepare() for bus in buses))
    members = [
        Consumer(database, bus, world.subscription(), world.export)
        for database, bus in zip(databases, buses, strict=True)
    ]

    async def shares(*wanted: int) -> bool:
        return sorted([len(await member.lag()) for member in members]) == [*wanted]

    async def write(amount: int) -> None:
        for number in range(30):
            await world.change(number, amount)

    async with at_work(world.relay().run, members[2].run):
        async with at_work(members[0].run):
            await until(lambda: shares(0, 0, 2, 2), 90)
            await write(1)
            async with at_work(members[1].run, members[3].run):
                await write(2)
                await until(lambda: shares(1, 1, 1, 1), 90)
                await write(3)
        await write(4)
        await until(lambda: shares(0, 0, 0, 4), 90)
        await until(lambda: whole(world), 90)
    for one in (*buses, *databases):
        await one.close()


class Hesitating(Consumer):
    """Has fetched a batch, and does not apply it before it may."""

    fetched = may_go = asyncio.Event()

    async def _consume(self, records: Sequence[Record]) -> None:
        self.fetched.set()
        await self.may_go.wait()
        await super()._consume(records)


async def test_a_change_of_owners_in_the_middle_of_a_batch(world: World) -> None:
    """The batch was fetched; then the session that owned its partitions dies, and another one takes them over."""
    slow_database = Database(world.kpi.url, "slow")
    slow = Hesitating(slow_database, world.bus, world.subscription(), world.export)
    slow.fetched, slow.may_go = asyncio.Event(), asyncio.Event()
    relay = world.relay()
    await slow.step(0)
    for number in range(40):
        await world.change(number, number)
    await relay.step()
    applying = asyncio.create_task(slow.step(1))
    await asyncio.wait_for(slow.fetched.wait(), 20)

    async with world.kpi.transaction() as tx:
        await tx.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'slow-dedicated'")
        )
    quick = world.consumer()

    async def all_taken() -> bool:
        await settle(relay, quick)
        return len(await quick.lag()) == 4 and await whole(world)

    await until(all_taken, 90)
    slow.may_go.set()
    with pytest.raises(Fenced):
        await applying
    assert await world.broken() == set()
    await slow.close()
    await slow_database.close()


@contextlib.asynccontextmanager
async def process(world: World, bus_url: str) -> AsyncIterator[Process]:
    """Relay and consumer of the toy as a process of their own."""
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.toy_process", "run", world.pipeline.url, world.kpi.url, bus_url,
        stdout=PIPE, env=dict(os.environ),
    )  # fmt: skip
    try:
        assert started.stdout is not None
        assert await asyncio.wait_for(started.stdout.readline(), 60) == b"ready\n"
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def test_a_frozen_member_wakes_up_after_its_part_was_taken_over(
    world: World, kafka_servers: list[str], prefix: str
) -> None:
    url = f"kafka://{','.join(kafka_servers)}?prefix={prefix}"

    async def change_all(amount: int) -> None:
        for number in range(40):
            await world.change(number % 8, amount + number)

    async with process(world, url) as frozen:
        await change_all(0)
        await until(lambda: whole(world), 90)
        # Frozen while events are on their way to it: what it has fetched by then it will try to apply.
        await change_all(100)
        frozen.send_signal(signal.SIGSTOP)
        async with process(world, url):
            await change_all(200)
            await until(lambda: whole(world), 90)
            frozen.send_signal(signal.SIGCONT)
            await change_all(300)
            await until(lambda: whole(world), 90)
            await asyncio.sleep(1)
            assert await whole(world)


async def test_a_broker_killed_in_the_middle_and_started_again(
    empty_database: Callable[[], str], start_kafka: Callable[[int], LocalKafka]
) -> None:
    """Business goes on without it; afterwards everything is there, once."""
    kafka = start_kafka(1)
    await kafka.wait_ready()
    await make_topics([kafka.servers])
    async with (
        toy_on(empty_database, KafkaBus([kafka.servers])) as world,
        at_work(world.relay().run, world.consumer().run),
    ):
        for number in range(200):
            await world.change(number % 20, number)
            if number == 100:
                kafka.brokers[0].kill()
        with pytest.raises(KafkaUnavailable) as caught:
            await world.bus.append([_change(77, 1)])
        assert is_infrastructure(caught.value)
        kafka.restart(kafka.brokers[0])
        await kafka.wait_ready()
        await until(lambda: whole(world), 90)
        # The bus is as good as new: producer and readers were made anew.
        await world.change(1, 5000)
        await until(lambda: whole(world), 90)


def _change(number: int, version: int) -> Message:
    return encode(deal_changed(deal_id(number), version, version, 0))


async def test_a_broker_that_hangs_holds_nobody_for_long(start_kafka: Callable[[int], LocalKafka]) -> None:
    """Frozen, it keeps its connections open and answers nothing: every wait has an end, and then all is as before."""
    kafka = start_kafka(1)
    await kafka.wait_ready()
    await make_topics([kafka.servers])
    bus = KafkaBus([kafka.servers])
    await bus.prepare()
    await bus.append([_change(1, 1)])
    reader = bus.reader([DEALS])
    await reader.assign(dict.fromkeys(ALL, 0))
    assert len(await reader.poll(10, 5)) == 1
    kafka.brokers[0].send(signal.SIGSTOP)
    for waiting in (
        bus.append([_change(1, 2)]),
        reader.poll(10, 1),
        bus.end_offsets(ALL),
        KafkaBus([kafka.servers]).prepare(),
    ):
        async with asyncio.timeout(30):
            with pytest.raises(KafkaUnavailable):
                await waiting
    kafka.brokers[0].send(signal.SIGCONT)
    await until(functools.partial(_is_appended, bus, [_change(1, 2), _change(1, 3)]), 90)
    found: set[str] = set()

    async def all_read() -> bool:
        with contextlib.suppress(KafkaUnavailable):
            found.update(record.message.headers["ce_sequence"] for record in await reader.poll(10, 1))
        return found == {"2", "3"}

    await until(all_read, 90)
    async with asyncio.timeout(30):
        await bus.close()


@pytest.mark.timeout(400 + OUTAGE_SECONDS)
async def test_business_goes_on_while_kafka_is_a_black_hole(
    empty_database: Callable[[], str], start_kafka: Callable[[int], LocalKafka]
) -> None:
    """F9: no answer, no refusal, no reset, for open connections and for new ones. OUTAGE_SECONDS=600 plays it long."""
    kafka = start_kafka(1)
    await kafka.wait_ready()
    broker = kafka.brokers[0]
    async with proxied(broker.node.port) as proxy:
        _advertise(kafka, proxy.port)
        await kafka.wait_ready()
        servers = [f"127.0.0.1:{proxy.port}"]
        await make_topics(servers)
        async with (
            toy_on(empty_database, KafkaBus(servers)) as world,
            at_work(world.relay().run, world.consumer().run),
        ):
            for number in range(20):
                await world.change(number, 1)
            await until(lambda: whole(world), 90)
            await proxy.fall_silent()
            ends = time.monotonic() + OUTAGE_SECONDS
            number = 0
            while time.monotonic() < ends:
                await world.change(number % 20, number)
                number += 1
                await asyncio.sleep(0.02)
            async with asyncio.timeout(30):
                with pytest.raises(KafkaUnavailable):
                    await world.bus.append([_change(77, 1)])
            assert await _outbox_rows(world) == number
            proxy.go_on()
            await until(lambda: whole(world), 90)
            assert await _outbox_rows(world) == 0


def _advertise(kafka: LocalKafka, port: int) -> None:
    """Start the broker anew, so that its clients come by another port."""
    (broker,) = kafka.brokers
    broker.kill()
    settings = broker.folder / "server.properties"
    told = settings.read_text(encoding="utf-8")
    ours = f"advertised.listeners=PLAINTEXT://127.0.0.1:{broker.node.port}"
    assert ours in told
    settings.write_text(told.replace(ours, f"advertised.listeners=PLAINTEXT://127.0.0.1:{port}"), encoding="utf-8")
    kafka.restart(broker)


async def _outbox_rows(world: World) -> int:
    async with world.pipeline.autocommit() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM outbox"))).scalar_one())


async def test_three_brokers_lose_their_leader_and_nothing_acknowledged(
    start_kafka: Callable[[int], LocalKafka],
) -> None:
    kafka = start_kafka(3)
    await kafka.wait_ready()
    servers = kafka.servers.split(",")
    await make_topics(servers, replication=3)
    bus = KafkaBus(servers)
    await bus.prepare()
    acknowledged: set[str] = set()
    killed = asyncio.Event()
    writing = asyncio.create_task(_write_on(bus, acknowledged, killed))
    await until(lambda: len(acknowledged) >= 200, 90)
    leader = await leader_of(servers, DEALS, 0)
    next(broker for broker in kafka.brokers if broker.node.id == leader).kill()
    killed.set()
    await asyncio.wait_for(writing, 90)

    reader = bus.reader([DEALS])
    await reader.assign(dict.fromkeys(ALL, 0))
    found: list[Record] = []
    while records := await reader.poll(500, 1):
        found += records
    assert {record.message.headers["ce_id"] for record in found} == acknowledged
    assert _first_occurrences_are_dense(found)
    living = [broker.address for broker in kafka.brokers if broker.running]
    assert await leader_of(living, DEALS, 0) not in (leader, -1)
    await bus.close()


async def _write_on(bus: KafkaBus, acknowledged: set[str], killed: asyncio.Event) -> None:
    """As the relay does: the same again until it is acknowledged, nothing before; ends 20 batches after the kill."""
    version = after = 0
    while after < 20:
        version += 1
        batch = [_change(number, version) for number in range(20)]
        await until(functools.partial(_is_appended, bus, batch), 90)
        acknowledged.update(message.headers["ce_id"] for message in batch)
        after += killed.is_set()


async def _is_appended(bus: KafkaBus, batch: Sequence[Message]) -> bool:
    try:
        await bus.append(batch)
    except KafkaUnavailable:
        return False
    return True


def _first_occurrences_are_dense(records: Sequence[Record]) -> bool:
    """What was sent again may be there twice, but never before its predecessor."""
    last: defaultdict[str, int] = defaultdict(int)
    for record in records:
        key, version = record.message.key, int(record.message.headers["ce_sequence"])
        if version > last[key] + 1:
            return False
        last[key] = max(last[key], version)
    return True
