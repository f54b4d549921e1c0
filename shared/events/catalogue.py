"""Every event class by its type name, and every topic with its number of partitions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from shared.events import goals, kpi, notify, pipeline
from shared.events.base import Event

CATALOGUE: Mapping[str, type[Event]] = {
    event.type: event for event in (*pipeline.EVENTS, *kpi.EVENTS, *goals.EVENTS, *notify.EVENTS)
}


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as data: its name, partitions, owner and the consumer groups that read it. Nothing is compacted."""

    name: str
    partitions: int
    owner: str
    readers: tuple[str, ...] = ()
    retention: timedelta = timedelta(days=14)

    @property
    def event_types(self) -> tuple[str, ...]:
        return tuple(name for name, event in CATALOGUE.items() if event.topic == self.name)


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
    )
}
