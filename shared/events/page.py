"""The page about events for people, from the catalogue: `python -m shared.events.page` writes docs/events.md."""

import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from shared.events.base import Event, StreamEvent
from shared.events.catalogue import CATALOGUE, TOPICS, Topic
from shared.events.dead_letters import HEADERS, OMITTED, OMITTED_MEANS
from shared.events.schemas import schema_of

FILE = Path(__file__).parents[2] / "docs" / "events.md"

_BEGINNING = """\
<!-- Generated from shared/events/catalogue.py by `make docs`: do not edit. -->
# Events

What the services tell each other. Every message is a CloudEvent 1.0 in binary mode: its attributes are headers
(`ce_id`, `ce_type`, `ce_source`, `ce_subject`, `ce_sequence`, `ce_time`, `ce_correlationid`, `ce_causationid`,
`ce_traceparent`), its data is the JSON value. The key is the stream, so that a stream stays in one partition, in order;
`ce_sequence` is the version within it, and `ce_id` is made of both. For machines: [asyncapi.yaml](asyncapi.yaml), and
the JSON Schema of each event in `shared/events/json_schemas/`. How to add one: [add an event](how-to/add-an-event.md).

- **Dense**: the versions of a stream are 1, 2, ... without a hole. A reader that misses one waits and asks the owner.
- **State**: an event tells the whole present state of its key. The highest version wins; `deleted` is a tombstone.

Money is in minor units of its currency, decimals are texts, moments are UTC, and no event carries a name of a person.
Within a major version fields are only added; readers ignore those that they do not know.
"""
_DEAD_LETTERS = """
## Dead letters

An event that a consumer group could not apply is put aside in a table of the group's service and told to the group's
topic `<group>.dead.v1`, from the service's outbox, in the same transaction: both are there, or neither. No service
reads these topics; they are for the tools of operators. Key, value and headers are those of the event, so that it can
be read as it was; these headers stand beside them:

| header | |
|---|---|
"""
_AFTER_DEAD_LETTERS = """
An event is told when it is put aside, at least once (a copy has the same `dead_letter_id` and `dead_letter_failed_at`).
One that fails again in a replay is not told again, and what comes from a topic of dead letters is never told at all.
The rows are kept for 30 days, and `salesgrain dead-letters list|show|replay` works on them: a replay needs nothing from
these topics.
"""


def rendered() -> str:
    """Return the page as Markdown."""
    parts = [_BEGINNING, *_overview()]
    for topic in TOPICS.values():
        parts.append(f"\n## {topic.name}\n\n{_about(topic)}\n")
        for name in topic.event_types:
            parts += _event(CATALOGUE[name])
    parts += _dead_letters()
    return "".join([*parts, *_parts_of_events()])


def _overview() -> Iterator[str]:
    yield "\n| topic | partitions | kept | owner | read by | events |\n|---|---|---|---|---|---|\n"
    for topic in TOPICS.values():
        events = ", ".join(f"`{name}`" for name in topic.event_types) or "[dead letters](#dead-letters)"
        readers = ", ".join(topic.readers) or "nobody here"
        yield (
            f"| [`{topic.name}`](#{topic.name.replace('.', '')}) | {topic.partitions} | {topic.retention.days} days "
            f"| {topic.owner} | {readers} | {events} |\n"
        )


def _about(topic: Topic) -> str:
    if topic.dead_letters_of is not None:
        return (
            f"[Dead letters](#dead-letters) of the group {topic.dead_letters_of}. Owner {topic.owner}; "
            f"{topic.partitions} partition; deleted after {topic.retention.days} days, never compacted."
        )
    kind = "dense" if any(issubclass(CATALOGUE[name], StreamEvent) for name in topic.event_types) else "state"
    return (
        f"Owner {topic.owner}; {topic.partitions} partitions; {kind}; deleted after {topic.retention.days} days, "
        "never compacted."
    )


def _event(event: type[Event]) -> Iterator[str]:
    yield f"\n### {event.type}\n\n{inspect.getdoc(event) or ''}\n"
    yield from _fields(schema_of(event))


def _dead_letters() -> Iterator[str]:
    yield _DEAD_LETTERS
    for name, meaning in {**HEADERS, OMITTED: OMITTED_MEANS}.items():
        yield f"| `{name}` | {meaning} |\n"
    yield _AFTER_DEAD_LETTERS


def _parts_of_events() -> Iterator[str]:
    """Return what several events are made of, each part once."""
    yield "\n## Parts of events\n"
    parts = {name: part for event in CATALOGUE.values() for name, part in schema_of(event)["$defs"].items()}
    for name, part in sorted(parts.items()):
        yield f"\n### {name}\n\n{part.get('description', '')}\n"
        yield from _fields(part)


def _fields(schema: Mapping[str, Any]) -> Iterator[str]:
    yield "\n| field | type | |\n|---|---|---|\n"
    for name, field in schema["properties"].items():
        needed = "" if name in schema.get("required", ()) else f"default `{json.dumps(field.get('default'))}`"
        yield f"| `{name}` | {_type(field)} | {needed} |\n"


def _type(field: Mapping[str, Any]) -> str:
    """Return a field's type in words; the table's own separator is written as `or`."""
    if "$ref" in field:
        name = str(field["$ref"]).rsplit("/", 1)[-1]
        return f"[`{name}`](#{name.lower()})"
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "anyOf" in field:
        return " or ".join(_type(one) for one in field["anyOf"])
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    return " ".join(str(word) for word in (field.get("type", "anything"), field.get("format", "")) if word)


def write() -> None:
    """Write the page into docs/."""
    FILE.write_text(rendered(), encoding="utf-8")


if __name__ == "__main__":
    write()
