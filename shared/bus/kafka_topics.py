"""The topics of the contract in a Kafka cluster: makes what is missing, says what differs, and never takes away."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from shared.bus.kafka import FoundTopic, KafkaAdmin
from shared.events.catalogue import TOPICS, Topic


@dataclass(frozen=True, slots=True)
class Finding:
    """What is so with a topic: as it should be, made so just now, set otherwise by an operator, or wrong."""

    topic: str
    state: Literal["fine", "made", "changed", "wrong"]
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
            findings.append(Finding(name, "wrong", "is missing"))
        else:
            await admin.create(name, topic.partitions, replication, settings_of(topic, replication))
            findings.append(Finding(name, "made", f"{topic.partitions} partitions, replication {replication}"))
    return findings


async def _compare(
    admin: KafkaAdmin, topic: Topic, there: FoundTopic, replication: int, *, check_only: bool
) -> list[Finding]:
    differences = [
        *(Finding(there.name, "wrong", text) for text in _faults(topic, there, replication)),
        *(Finding(there.name, "changed", text) for text in _changes(topic, there, replication)),
    ]
    if there.partitions < topic.partitions:
        few = f"{there.partitions} partitions, the catalogue says {topic.partitions}"
        if check_only:
            differences.append(Finding(there.name, "wrong", few))
        else:
            await admin.add_partitions(there.name, topic.partitions)
            differences.append(Finding(there.name, "made", f"had {few}: added"))
    return differences or [Finding(there.name, "fine", f"{there.partitions} partitions")]


def _faults(topic: Topic, there: FoundTopic, replication: int) -> Iterator[str]:
    """Tell what breaks the contract: order per key, or that nothing acknowledged is lost."""
    if there.partitions > topic.partitions:
        yield f"{there.partitions} partitions, the catalogue says {topic.partitions}: a topic cannot shrink"
    if there.replication < replication:
        yield f"replication {there.replication}, wanted {replication}: reassign its replicas"
    policy = there.settings.get("cleanup.policy")
    if policy != "delete":
        yield f"cleanup.policy is {policy}, the catalogue says delete: compaction loses events"


def _changes(topic: Topic, there: FoundTopic, replication: int) -> Iterator[str]:
    """Tell what an operator may have chosen to set otherwise."""
    wanted = settings_of(topic, max(replication, there.replication))
    for name in ("retention.ms", "min.insync.replicas"):
        if there.settings.get(name) != wanted[name]:
            yield f"{name} is {there.settings.get(name)}, by the catalogue it is {wanted[name]}"
