"""One combined KRaft broker and controller as a process."""

import base64
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.kafka.jars import LOGGING, KafkaJars

# Small, quick to start and quick to notice a dead broker (reference: packaging.md, section 3).
SMALL = {
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.dedupe.buffer.size": "16777216",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    "broker.heartbeat.interval.ms": "100",
    "broker.session.timeout.ms": "1500",
    "auto.create.topics.enable": "false",
    "unclean.leader.election.enable": "false",
}


@dataclass(frozen=True, slots=True)
class Node:
    """A broker's place: its id, and its two ports of 127.0.0.1."""

    id: int
    port: int
    controller_port: int


def kafka_id() -> str:
    """Return a new id as Kafka writes them: 16 bytes in URL-safe base64, beginning with no dash."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text


class Broker:
    """A broker in a folder of its own, which holds its data, its log and its `pid` while it runs."""

    def __init__(self, jars: KafkaJars, folder: Path, node: Node, nodes: Sequence[Node], cluster_id: str) -> None:
        self.node = node
        self._jars = jars
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        data = folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        if not (data / "meta.properties").exists():
            shutil.copy(jars.checkpoint, data)
            identity = {"version": "1", "cluster.id": cluster_id, "node.id": node.id, "directory.id": kafka_id()}
            _write(data / "meta.properties", identity)
        _write(folder / "server.properties", _settings(node, nodes, data))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.node.port}"

    @property
    def pid(self) -> int:
        """Raises LookupError when it does not run."""
        if self._process is None:
            raise LookupError(f"broker {self.node.id} does not run")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *options: str) -> None:
        """Start it with further `options` of Java; it is ready later."""
        java = [
            self._jars.java, "-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *options,
            f"-Dlog4j2.configurationFile={LOGGING}", "-cp", self._jars.class_path,
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*java, "kafka.Kafka", str(self.folder / "server.properties")],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        (self.folder / "pid").write_text(str(self._process.pid), encoding="utf-8")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, such as SIGSTOP and SIGCONT."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once, as a power cut would (SIGKILL); harmless when it does not run."""
        self._end(signal.SIGKILL, 30.0)

    def stop(self) -> None:
        """Let it end by itself (SIGTERM), which takes seconds."""
        self._end(signal.SIGTERM, 60.0)

    def _end(self, number: signal.Signals, seconds: float) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # First of all the pid: a later process may get it.
        (self.folder / "pid").unlink(missing_ok=True)
        self._process = None

    def last_words(self) -> str:
        """Return the end of its log."""
        lines = (self.folder / "log").read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([f"broker {self.node.id}; its log ends:", *lines[-12:]])


def _settings(node: Node, nodes: Sequence[Node], data: Path) -> dict[str, object]:
    listeners = f"PLAINTEXT://127.0.0.1:{node.port},CONTROLLER://127.0.0.1:{node.controller_port}"
    replicas = min(3, len(nodes))
    in_sync = max(1, replicas - 1)
    return {
        **SMALL,
        "process.roles": "broker,controller",
        "node.id": node.id,
        "controller.quorum.voters": ",".join(f"{one.id}@127.0.0.1:{one.controller_port}" for one in nodes),
        "listeners": listeners,
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{node.port}",
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": data,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        # With one broker there is nobody to hand its partitions to.
        "controlled.shutdown.enable": str(len(nodes) > 1).lower(),
    }


def _write(path: Path, values: Mapping[str, object]) -> None:
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()), encoding="utf-8")
