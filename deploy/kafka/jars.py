"""What a local broker is made of: the jars that Maven fetches once, and what is made of them once."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.settings import Settings

HERE = Path(__file__).parent
POM = HERE / "pom.xml"
LOGGING = HERE / "log4j2.properties"
CHECKOUT = HERE.parents[1]
MAVEN_SECONDS = 600.0
FORMAT_SECONDS = 120.0
CHECKPOINT = "bootstrap.checkpoint"


class LocalKafkaError(RuntimeError):
    """A local Kafka cannot run; the text says why and what to do."""


class LocalKafkaSettings(Settings):
    """KAFKA_DIRECTORY: where jars and archives are kept (default: `.kafka` in the checkout)."""

    kafka_directory: Path = CHECKOUT / ".kafka"


@dataclass(frozen=True, slots=True)
class KafkaJars:
    """The jars of one version and what belongs to them; `archive` may be missing: then a start takes longer."""

    java: str
    folder: Path

    @property
    def class_path(self) -> str:
        # An explicit, sorted list: the class archive is tied to it.
        return os.pathsep.join(map(str, sorted((self.folder / "libs").glob("*.jar"))))

    @property
    def checkpoint(self) -> Path:
        """The features of a new cluster, as Kafka's own StorageTool writes them."""
        return self.folder / CHECKPOINT

    @property
    def archive(self) -> Path:
        """The classes as this very Java has loaded them."""
        said = subprocess.run([self.java, "-version"], capture_output=True, check=True).stderr
        return self.folder / f"classes-{hashlib.sha256(said).hexdigest()[:12]}.jsa"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one process at a time makes something here."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def missing_tools() -> list[str]:
    """Return which of `java` and `mvn` a local Kafka would need and cannot be found."""
    folder = _folder(LocalKafkaSettings.from_environment().kafka_directory)
    needed = ["java"] if (folder / "libs").is_dir() else ["java", "mvn"]
    return [tool for tool in needed if shutil.which(tool) is None]


def fetch_jars() -> KafkaJars:
    """Return the jars, fetched when they are not there yet; raises LocalKafkaError."""
    if missing := missing_tools():
        raise LocalKafkaError(
            f"a local Kafka needs {' and '.join(missing)}: install a Java runtime (17 or later) and Maven, "
            "or name a running Kafka in KAFKA_BOOTSTRAP_SERVERS"
        )
    folder = _folder(LocalKafkaSettings.from_environment().kafka_directory)
    jars = KafkaJars(shutil.which("java") or "java", folder)
    with jars.locked():
        if not (folder / "libs").is_dir():
            _fetch(folder)
        if not jars.checkpoint.exists():
            _make_checkpoint(jars)
    return jars


def _folder(directory: Path) -> Path:
    """Another pom is another folder: jars of two versions must not meet on one class path."""
    return directory.absolute() / hashlib.sha256(POM.read_bytes()).hexdigest()[:12]


def _fetch(folder: Path) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=folder))
    try:
        shutil.copy(POM, unfinished / "pom.xml")
        _run(
            MAVEN_SECONDS, "mvn", "-B", "-q", "-ntp", "-f", str(unfinished / "pom.xml"), "dependency:copy-dependencies",
            "-DincludeScope=runtime", f"-DoutputDirectory={unfinished / 'libs'}",
        )  # fmt: skip
        (unfinished / "libs").rename(folder / "libs")
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _make_checkpoint(jars: KafkaJars) -> None:
    """Format a directory with Kafka's own tool once, and keep what is the same for all clusters."""
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=jars.folder))
    try:
        (unfinished / "server.properties").write_text(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:9\n"
            "listeners=PLAINTEXT://127.0.0.1:8,CONTROLLER://127.0.0.1:9\ncontroller.listener.names=CONTROLLER\n"
            "advertised.listeners=PLAINTEXT://127.0.0.1:8\ninter.broker.listener.name=PLAINTEXT\n"
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n"
            f"log.dirs={unfinished / 'data'}\n",
            encoding="utf-8",
        )
        _run(
            FORMAT_SECONDS, jars.java, "-XX:TieredStopAtLevel=1", f"-Dlog4j2.configurationFile={LOGGING}",
            "-cp", jars.class_path, "kafka.tools.StorageTool", "format", "-t", "AAAAAAAAQACAAAAAAAAAAQ",
            "-c", str(unfinished / "server.properties"),
        )  # fmt: skip
        (unfinished / "data" / CHECKPOINT).rename(jars.checkpoint)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _run(seconds: float, *command: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise LocalKafkaError(f"{command[0]} did not end within {seconds:g} s") from error
    if done.returncode != 0:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip() and not line.startswith("\t")]
        raise LocalKafkaError("\n".join([f"{command[0]} failed (code {done.returncode}):", *said[-12:]]))
