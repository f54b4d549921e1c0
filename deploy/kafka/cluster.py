"""A local Kafka of one or three brokers, for a developer, for tests and for the distributed mode on one machine."""

import asyncio
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deploy.kafka.broker import Broker, Node, kafka_id
from deploy.kafka.jars import KafkaJars, LocalKafkaError, fetch_jars
from shared.bus.kafka import opened_admin
from shared.bus.kafka_faults import KafkaUnavailable

READY_SECONDS = 120.0

# Outlives us when we are killed: reads from a pipe that only we hold, then ends the brokers and their folder.
WATCHDOG = """
read -r _
for file in "$1"/*/pid; do [ -f "$file" ] && kill -KILL "$(cat "$file")" 2>/dev/null; done
[ "$2" = keep ] && exit 0
for again in 1 2 3 4 5; do rm -rf "$1" 2>/dev/null; [ -e "$1" ] || exit 0; sleep 0.2; done
"""


class LocalKafka:
    """Running brokers; `running_kafka` starts and ends them. `folder` holds one folder per broker."""

    def __init__(self, jars: KafkaJars, folder: Path, count: int) -> None:
        self._jars = jars
        ports = iter(_free_ports(2 * count))
        nodes = [Node(number, next(ports), next(ports)) for number in range(1, count + 1)]
        cluster_id = kafka_id()
        self.brokers = [Broker(jars, folder / f"broker-{node.id}", node, nodes, cluster_id) for node in nodes]

    @property
    def servers(self) -> str:
        """`host:port` of each broker, separated by commas."""
        return ",".join(broker.address for broker in self.brokers)

    @property
    def url(self) -> str:
        """What BUS_URL is."""
        return f"kafka://{self.servers}"

    def start(self, *options: str) -> None:
        """Start all brokers; returns at once."""
        archive = self._jars.archive
        if archive.exists() and not options:
            options = (f"-XX:SharedArchiveFile={archive}", "-Xshare:auto")
        for broker in self.brokers:
            if not broker.running:
                broker.start(*options)

    def restart(self, broker: Broker) -> None:
        """Start a killed broker again, on its old port and data; `wait_ready` tells when it is back."""
        archive = self._jars.archive
        broker.start(*((f"-XX:SharedArchiveFile={archive}", "-Xshare:auto") if archive.exists() else ()))

    async def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Return once every running broker answers and knows all of them; raises LocalKafkaError."""
        deadline = time.monotonic() + seconds
        for broker in self.brokers:
            while broker.running and not await self._knows_all(broker):
                if time.monotonic() > deadline:
                    raise LocalKafkaError(f"not ready within {seconds:g} s: {broker.last_words()}")
                await asyncio.sleep(0.05)
            if not broker.running:
                raise LocalKafkaError(f"it ended: {broker.last_words()}")

    async def _knows_all(self, broker: Broker) -> bool:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", broker.node.port)) != 0:
                return False
        try:
            async with opened_admin([broker.address]) as admin:
                return await admin.brokers() >= {one.node.id for one in self.brokers if one.running}
        except KafkaUnavailable:
            return False

    def kill(self) -> None:
        """End all brokers at once: a clean end of three takes seconds, and nothing of them is kept."""
        for broker in self.brokers:
            broker.kill()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@contextmanager
def running_kafka(count: int = 1, folder: Path | None = None) -> Iterator[LocalKafka]:
    """Brokers for the length of the block, started but not ready yet (`wait_ready`); they end with us, however we do.

    Without a `folder` they live in a temporary one, which is removed. Raises LocalKafkaError.
    """
    jars = fetch_jars()
    with jars.locked():
        if not jars.archive.exists():
            _make_archive(jars)
    with _ended_with_us(folder) as place:
        kafka = LocalKafka(jars, place, count)
        try:
            kafka.start()
            yield kafka
        finally:
            kafka.kill()


def _make_archive(jars: KafkaJars) -> None:
    """Have a broker write down its loaded classes: from then on a start takes half as long.

    Not every Java can; the next start then tries in vain once more, and all goes on without it.
    """
    with _ended_with_us(None) as place:
        unfinished = place / "classes.jsa"
        kafka = LocalKafka(jars, place, 1)
        try:
            kafka.start(f"-XX:ArchiveClassesAtExit={unfinished}")
            # In a thread: the caller may be inside an event loop.
            with ThreadPoolExecutor(1) as thread:
                thread.submit(lambda: asyncio.run(kafka.wait_ready())).result()
            for broker in kafka.brokers:
                broker.stop()
        finally:
            kafka.kill()
        if unfinished.exists():
            shutil.move(unfinished, jars.archive)


@contextmanager
def _ended_with_us(folder: Path | None) -> Iterator[Path]:
    place = folder or Path(tempfile.mkdtemp(prefix="salesgrain-kafka-"))
    watchdog = subprocess.Popen(
        ["/bin/sh", "-c", WATCHDOG, "salesgrain-kafka-watchdog", str(place), "keep" if folder else "remove"],
        cwd="/", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield place
    finally:
        watchdog.communicate()
        if folder is None:
            shutil.rmtree(place, ignore_errors=True)
