"""The topics of the contract in a Kafka cluster: makes what is missing, says what differs, and never takes away."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from shared.bus.kafka import FoundTopic, KafkaAdmin
from shared.events.catalogue import TOPICS, Topic


@dataclass(frozen=True, slots=True)
class Finding:
    """What is so with a topic: as it should be, made so just now, or different in a way left to the operator."""

    topic: str
    state: Literal["fine", "made", "differs"]
    text: str


def settings_of(topic: Topic, replication: int) -> dict[str, str]:
    """Return the settings that a topic is made with: nothing is compacted, nothing acknowledged hangs on one broker."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(int(topic.retention.total_seconds() * 1000)),
        "min.insync.replicas": str(max(1, replication - 1)),
    }


async def arrange_topics(
    admin: KafkaAdmin,
    *,
    prefix: str = "",
    topics: Mapping[str, Topic] = TOPICS,
    replication: int = 1,
    check_only: bool = False,
) -> list[Finding]:
    """Make missing topics and partitions (unless `check_only`); return what is so with each. Raises KafkaUnavailable.

    Partitions are added, because guard and parking absorb a key that moves; they are never taken away. Settings that
    somebody has changed are told, not changed back.
    """
    findings: list[Finding] = []
    found = await admin.topics([prefix + name for name in topics])
    for topic in topics.values():
        name = prefix + topic.name
        there = found.get(name)
        if there is not None:
            findings += await _compare(admin, topic, there, replication, check_only=check_only)
        elif check_only:
            findings.append(Finding(name, "differs", "is missing"))
        else:
            await admin.create(name, topic.partitions, replication, settings_of(topic, replication))
            findings.append(Finding(name, "made", f"{topic.partitions} partitions, replication {replication}"))
    return findings


async def _compare(
    admin: KafkaAdmin, topic: Topic, there: FoundTopic, replication: int, *, check_only: bool
) -> list[Finding]:
    differences = [Finding(there.name, "differs", text) for text in _differences(topic, there, replication)]
    if there.partitions < topic.partitions:
        few = f"{there.partitions} partitions, the catalogue says {topic.partitions}"
        if check_only:
            differences.append(Finding(there.name, "differs", few))
        else:
            await admin.add_partitions(there.name, topic.partitions)
            differences.append(Finding(there.name, "made", f"had {few}: added"))
    return differences or [Finding(there.name, "fine", f"{there.partitions} partitions")]


def _differences(topic: Topic, there: FoundTopic, replication: int) -> Iterator[str]:
    if there.partitions > topic.partitions:
        yield f"{there.partitions} partitions, the catalogue says {topic.partitions}: a topic cannot shrink"
    if there.replication < replication:
        yield f"replication {there.replication}, wanted {replication}: reassign its replicas"
    wanted = settings_of(topic, max(replication, there.replication))
    for name in ("cleanup.policy", "retention.ms"):
        if there.settings.get(name) != wanted[name]:
            yield f"{name} is {there.settings.get(name)}, the catalogue says {wanted[name]}"
    in_sync = there.settings.get("min.insync.replicas")
    if in_sync != wanted["min.insync.replicas"]:
        yield f"min.insync.replicas is {in_sync}, for {there.replication} replicas {wanted['min.insync.replicas']}"
