"""What is told about the events is generated, current, and valid by AsyncAPI's own schema."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator, FormatChecker

from shared.events import asyncapi, page
from shared.events.catalogue import CATALOGUE, TOPICS

HERE = Path(__file__).parent
Document = dict[str, Any]


@pytest.fixture(scope="module")
def official() -> Draft7Validator:
    return Draft7Validator(json.loads((HERE / "asyncapi" / "asyncapi-3.0.0.json").read_text(encoding="utf-8")))


@pytest.fixture
def document() -> Document:
    return yaml.safe_load(asyncapi.FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("told", [asyncapi, page], ids=["asyncapi.yaml", "events.md"])
def test_the_committed_document_is_current(told: Any) -> None:
    assert told.FILE.read_text(encoding="utf-8") == told.rendered(), "run `make docs`"


def test_the_yaml_says_what_was_meant(document: Document) -> None:
    assert document == json.loads(json.dumps(asyncapi.document()))


def test_it_is_valid_asyncapi(official: Draft7Validator, document: Document) -> None:
    assert not [error.message for error in official.iter_errors(document)]


def rename_the_action(document: Document) -> None:
    next(iter(document["operations"].values()))["action"] = "publish"


def lose_the_channel(document: Document) -> None:
    del next(iter(document["operations"].values()))["channel"]


def count_partitions_in_words(document: Document) -> None:
    document["channels"]["pipeline.deals.v1"]["bindings"]["kafka"]["partitions"] = "four"


def spoil_a_payload(document: Document) -> None:
    document["components"]["messages"]["pipeline.deal.moved.v1"]["payload"] = {"type": "objekt"}


def forget_the_title(document: Document) -> None:
    del document["info"]["title"]


@pytest.mark.parametrize(
    "spoil", [rename_the_action, lose_the_channel, count_partitions_in_words, spoil_a_payload, forget_the_title]
)
def test_the_official_schema_would_tell(
    official: Draft7Validator, document: Document, spoil: Callable[[Document], None]
) -> None:
    spoil(document)
    assert not official.is_valid(document)


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_reference_leads_somewhere(document: Document) -> None:
    found = set(references(document))
    assert len(found) > len(CATALOGUE)
    for reference in found:
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def test_every_topic_is_sent_by_its_owner_and_received_by_its_readers(document: Document) -> None:
    assert set(document["channels"]) == set(TOPICS)
    for topic in TOPICS.values():
        operations = {
            (name.split(".")[0], one["action"])
            for name, one in document["operations"].items()
            if one["channel"]["$ref"] == f"#/channels/{topic.name}"
        }
        assert operations == {(topic.owner, "send"), *((group, "receive") for group in topic.readers)}


@pytest.mark.parametrize("path", sorted((HERE / "golden").glob("*.json")), ids=lambda path: path.stem)
def test_published_messages_are_as_the_document_says(document: Document, path: Path) -> None:
    golden = json.loads(path.read_text(encoding="utf-8"))
    message = document["components"]["messages"][golden["headers"]["ce_type"]]
    for part, value, needed in (("payload", golden["value"], "version"), ("headers", golden["headers"], "ce_id")):
        whole = {"components": document["components"], **message[part]}
        check = Draft202012Validator(whole, format_checker=FormatChecker())
        assert not [error.message for error in check.iter_errors(value)]
        assert not check.is_valid({name: inner for name, inner in value.items() if name != needed})


def test_the_page_names_every_topic_event_and_field() -> None:
    text = page.FILE.read_text(encoding="utf-8")
    for topic in TOPICS.values():
        assert f"## {topic.name}" in text
    for event in CATALOGUE.values():
        section = text.split(f"### {event.type}\n")[1].split("\n#")[0]
        assert all(f"| `{name}` |" in section for name in event.__struct_fields__)
