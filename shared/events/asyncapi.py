"""The AsyncAPI 3.0 document of the contract, from the catalogue: `python -m shared.events.asyncapi` writes it."""

import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from shared.events.base import Event, StreamEvent
from shared.events.catalogue import CATALOGUE, TOPICS, Topic
from shared.events.codec import CONTENT_TYPE
from shared.events.dead_letters import HEADERS, OMITTED, OMITTED_MEANS

FILE = Path(__file__).parents[2] / "docs" / "asyncapi.yaml"
BINDING = "0.5.0"
DEAD_LETTER = "dead_letter"

_GENERATED = "# Generated from shared/events/catalogue.py by `make docs`: do not edit.\n"
_ABOUT = "Events between the services of SalesGrain: CloudEvents 1.0, attributes in `ce_*` headers, JSON data."
_OPTIONAL_HEADERS = {
    "ce_correlationid": "What the event belongs to: one request and everything that follows from it.",
    "ce_causationid": "The id of the event or request that caused this one.",
    "ce_traceparent": "W3C trace context.",
}


def document() -> dict[str, Any]:
    """Return the document as plain data."""
    payloads, schemas = msgspec.json.schema_components(CATALOGUE.values(), ref_template="#/components/schemas/{name}")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "SalesGrain events",
            "version": "1.0.0",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {
            "kafka": {
                "host": "{broker}",
                "protocol": "kafka",
                "description": "The cluster that BUS_URL names.",
                "variables": {"broker": {"default": "127.0.0.1:9092", "description": "host:port of a broker"}},
            }
        },
        "channels": {topic.name: _channel(topic) for topic in TOPICS.values()},
        "operations": {name: operation for topic in TOPICS.values() for name, operation in _operations(topic)},
        "components": {
            "messages": {
                **{
                    event.type: _message(event, payload)
                    for event, payload in zip(CATALOGUE.values(), payloads, strict=True)
                },
                DEAD_LETTER: _dead_letter(),
            },
            "schemas": dict(schemas),
        },
    }


def _channel(topic: Topic) -> dict[str, Any]:
    return {
        "address": topic.name,
        "description": f"Owned by {topic.owner}. {_order_of(topic)}",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _messages_of(topic)},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "cleanup.policy": ["delete"],
                    "retention.ms": int(topic.retention.total_seconds() * 1000),
                },
                "bindingVersion": BINDING,
            }
        },
    }


def _messages_of(topic: Topic) -> tuple[str, ...]:
    return topic.event_types if topic.dead_letters_of is None else (DEAD_LETTER,)


def _order_of(topic: Topic) -> str:
    if topic.dead_letters_of is not None:
        return f"The events that the group {topic.dead_letters_of} could not apply. For operators; no service reads it."
    if any(issubclass(CATALOGUE[name], StreamEvent) for name in topic.event_types):
        return "Each stream (the key) has dense versions 1..n: a missing one is waited for, a known one is a duplicate."
    return "Each event tells the whole present state of its key: the highest version wins."


def _operations(topic: Topic) -> Iterator[tuple[str, dict[str, Any]]]:
    about = {
        "channel": {"$ref": f"#/channels/{topic.name}"},
        "messages": [{"$ref": f"#/channels/{topic.name}/messages/{name}"} for name in _messages_of(topic)],
    }
    yield (
        f"{topic.owner}.send.{topic.name}",
        {
            "action": "send",
            "summary": f"{topic.owner} announces, from its outbox: at least once, in order per key.",
            **about,
        },
    )
    for group in topic.readers:
        binding = {"groupId": {"type": "string", "enum": [group]}, "bindingVersion": BINDING}
        yield (
            f"{group}.receive.{topic.name}",
            {
                "action": "receive",
                "summary": f"{group} applies each event once.",
                **about,
                "bindings": {"kafka": binding},
            },
        )


def _message(event: type[Event], payload: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": event.type,
        "title": event.__name__,
        "summary": inspect.getdoc(event) or "",
        "contentType": CONTENT_TYPE,
        "correlationId": {"location": "$message.header#/ce_correlationid"},
        "headers": _headers(event),
        "payload": dict(payload),
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": "The stream: what the event is about, as in `ce_subject`."},
                "bindingVersion": BINDING,
            }
        },
    }


def _dead_letter() -> dict[str, Any]:
    """The headers of the event that failed stand beside these, as far as it had any."""
    texts = {**HEADERS, OMITTED: OMITTED_MEANS}
    return {
        "name": DEAD_LETTER,
        "title": "DeadLetter",
        "summary": "An event that a group could not apply, with its own key, value and headers.",
        # Whatever came: it may have failed because it is no JSON.
        "contentType": "application/octet-stream",
        "headers": {
            "type": "object",
            "properties": {name: {"type": "string", "description": text} for name, text in texts.items()},
            "required": [*HEADERS],
        },
        "bindings": {
            "kafka": {"key": {"type": "string", "description": "The key of the event."}, "bindingVersion": BINDING}
        },
    }


def _headers(event: type[Event]) -> dict[str, Any]:
    needed = {
        "content-type": {"const": CONTENT_TYPE},
        "ce_specversion": {"const": "1.0"},
        "ce_type": {"const": event.type},
        "ce_source": {"const": event.source},
        "ce_id": {"type": "string", "format": "uuid", "description": "Made of stream and version: always the same."},
        "ce_subject": {"type": "string", "description": "The stream."},
        "ce_sequence": {"type": "string", "pattern": "^[0-9]+$", "description": "The version within the stream."},
        "ce_time": {"type": "string", "format": "date-time", "description": "When it happened, in UTC."},
    }
    further = {name: {"type": "string", "description": text} for name, text in _OPTIONAL_HEADERS.items()}
    return {"type": "object", "properties": {**needed, **further}, "required": [*needed]}


def rendered() -> str:
    """Return the document as YAML text."""
    return _GENERATED + "".join(f"{line}\n" for line in _yaml(document(), ""))


def _yaml(value: object, indent: str) -> Iterator[str]:
    """Block style with every text quoted as JSON quotes it, which YAML reads the same way."""
    entries: list[tuple[str, object]]
    if isinstance(value, Mapping):
        entries = [(f"{json.dumps(name)}:", inner) for name, inner in value.items()]
    elif isinstance(value, list | tuple):
        entries = [("-", inner) for inner in value]
    else:
        raise TypeError(type(value).__name__)
    for mark, inner in entries:
        if isinstance(inner, Mapping | list | tuple) and inner:
            yield f"{indent}{mark}"
            yield from _yaml(inner, f"{indent}  ")
        else:
            yield f"{indent}{mark} {json.dumps(inner, ensure_ascii=False)}"


def write() -> None:
    """Write the document into docs/."""
    FILE.write_text(rendered(), encoding="utf-8")


if __name__ == "__main__":
    write()
