"""JSON Schemas of all events, generated from the classes: `python -m shared.events.schemas` writes them."""

import json
from pathlib import Path
from typing import Any

import msgspec

from shared.events.base import Event
from shared.events.catalogue import CATALOGUE

FOLDER = Path(__file__).with_name("json_schemas")


def schema_of(event: type[Event]) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of an event's data, self-contained."""
    _, components = msgspec.json.schema_components([event], ref_template="#/$defs/{name}")
    own = components.pop(event.__name__)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:salesgrain:event:{event.type}",
        **own,
        "title": event.type,
        "$defs": components,
    }


def rendered() -> dict[str, str]:
    """Return file name -> content for every event in the catalogue."""
    return {
        f"{name}.json": json.dumps(schema_of(event), ensure_ascii=False, indent=2, sort_keys=True) + "\n"
        for name, event in CATALOGUE.items()
    }


def write() -> None:
    """Write all schemas, and remove those of events that are no more."""
    FOLDER.mkdir(exist_ok=True)
    files = rendered()
    for stale in FOLDER.glob("*.json"):
        if stale.name not in files:
            stale.unlink()
    for name, content in files.items():
        (FOLDER / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    write()
