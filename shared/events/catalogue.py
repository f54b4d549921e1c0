"""Every event class by its type name, every consumer group, and every topic with its number of partitions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from shared.events import goals, kpi, notify, pipeline
from shared.events.base import Event

CATALOGUE: Mapping[str, type[Event]] = {
    event.type: event for event in (*pipeline.EVENTS, *kpi.EVENTS, *goals.EVENTS, *notify.EVENTS)
}

# Each consumer group and the service that it works for.
GROUPS: Mapping[str, str] = {
    "pipeline": "pipeline",
    "kpi": "kpi",
    "goals": "goals",
    "notify": "notify",
    "notify-deals": "notify",
}
EVENTS_KEPT = timedelta(days=14)
DEAD_LETTERS_KEPT = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as data: its name, partitions, owner and the consumer groups that read it. Nothing is compacted.

    A topic of dead letters names the group whose they are in `dead_letters_of`; no group reads it.
    """

    name: str
    partitions: int
    owner: str
    readers: tuple[str, ...] = ()
    retention: timedelta = EVENTS_KEPT
    dead_letters_of: str | None = None

    @property
    def event_types(self) -> tuple[str, ...]:
        return tuple(name for name, event in CATALOGUE.items() if event.topic == self.name)


def dead_topic(group: str) -> str:
    """Return the name of the topic that a group's dead letters are announced to."""
    return f"{group}.dead.v1"


TOPICS: Mapping[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic(pipeline.DEALS, 4, "pipeline", ("kpi", "notify-deals")),
        Topic(pipeline.CUSTOMERS, 4, "pipeline", ("kpi",)),
        Topic(pipeline.PROCESSES, 1, "pipeline", ("kpi",)),
        Topic(kpi.VALUES, 4, "kpi", ("goals", "notify")),
        Topic(goals.PEOPLE, 1, "goals", ("pipeline", "kpi", "notify")),
        Topic(goals.GOALS, 4, "goals", ("kpi", "notify")),
        Topic(notify.RULES, 1, "notify", ("kpi",)),
        Topic(notify.ALERTS, 4, "notify"),
        *(
            Topic(dead_topic(group), 1, service, retention=DEAD_LETTERS_KEPT, dead_letters_of=group)
            for group, service in GROUPS.items()
        ),
    )
}
