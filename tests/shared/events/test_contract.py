"""The events as others see them: CloudEvents by the reference SDK, committed schemas, golden files of every version."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from shared.events import codec, goals, kpi, notify, pipeline
from shared.events.base import Event
from shared.events.catalogue import CATALOGUE, TOPICS
from shared.events.schemas import FOLDER, rendered, schema_of
from shared.tracing import Cause, caused_by, new_cause

GOLDEN = Path(__file__).with_name("golden")


def every_event_class() -> list[type[Event]]:
    found: list[type[Event]] = []
    waiting: list[type[Event]] = [Event]
    while waiting:
        for child in waiting.pop().__subclasses__():
            waiting.append(child)
            if "type" in vars(child):
                found.append(child)
    return found


def test_every_event_class_is_in_the_catalogue_once() -> None:
    classes = every_event_class()
    assert sorted(event.type for event in classes) == sorted(CATALOGUE)
    assert all(CATALOGUE[event.type] is event for event in classes)


def test_every_topic_is_known_and_used() -> None:
    of_events = {topic.name for topic in TOPICS.values() if topic.dead_letters_of is None}
    assert {event.topic for event in CATALOGUE.values()} == of_events
    assert all((topic.dead_letters_of is None) == bool(topic.event_types) for topic in TOPICS.values())


def test_committed_schemas_are_current() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    assert committed == rendered(), "run `make docs`"


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_every_event_has_a_golden_file(name: str) -> None:
    assert sorted(GOLDEN.glob(f"{name}*.json")), f"publish a golden file for {name}"


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_golden_files_of_every_version_decode(path: Path) -> None:
    stored = json.loads(path.read_text(encoding="utf-8"))
    message = codec.Message(
        stored["topic"], stored["key"], stored["headers"], json.dumps(stored["value"], ensure_ascii=False).encode()
    )
    event = codec.decode(message)
    assert event.topic == message.topic
    assert event.key == message.key
    envelope = codec.read_envelope(message)
    assert (envelope.id, envelope.stream, envelope.version) == (str(event.id), event.stream, event.version)
    # Additive evolution: whatever was published is still said, in the same words, by what the class writes today.
    today = json.loads(codec.encode(event).value)
    assert {name: today[name] for name in stored["value"]} == stored["value"]
    Draft202012Validator(schema_of(type(event)), format_checker=FormatChecker()).validate(today)


MOMENT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
DEAL = pipeline.DealState(
    process="standard",
    process_version=1,
    stage=pipeline.Stage("demo", "open", 2),
    status="open",
    owner="external:anna",
    amount=123_000,
    currency="CNY",
    expected_close_on=date(2026, 6, 30),
)
MOVED = pipeline.DealMoved(
    version=3,
    recorded_at=MOMENT,
    occurred_at=MOMENT,
    deal_id=UUID("01900000-0000-7000-8000-000000000001"),
    deal=DEAL,
    before=DEAL,
    move_id=UUID("01900000-0000-7000-8000-000000000002"),
)


def test_the_reference_sdk_reads_our_binary_mode() -> None:
    with caused_by(new_cause("request-1")):
        message = codec.encode(MOVED)
    headers = {name: value.encode() for name, value in message.headers.items()}
    event = from_binary_event(KafkaMessage(headers=headers, key=message.key.encode(), value=message.value))
    assert event.get_id() == str(MOVED.id)
    assert event.get_type() == "pipeline.deal.moved.v1"
    assert event.get_source() == "/pipeline"
    assert event.get_subject() == MOVED.stream
    assert event.get_time() == MOMENT
    assert event.get_extension("correlationid") == "request-1"
    assert event.get_data() == msgspec.json.decode(message.value)


def test_the_cause_of_what_follows_is_this_event() -> None:
    with caused_by(Cause("request-1", "event-0", "00-" + "a" * 32 + "-" + "b" * 16 + "-01")):
        envelope = codec.read_envelope(codec.encode(MOVED))
    assert envelope.cause.correlation_id == "request-1"
    assert envelope.cause.causation_id == str(MOVED.id)


def test_ids_are_the_same_in_every_replay() -> None:
    assert MOVED.id == msgspec.structs.replace(MOVED, actor="somebody").id
    assert MOVED.id != msgspec.structs.replace(MOVED, version=4).id


def test_oversize_is_refused() -> None:
    huge = msgspec.structs.replace(MOVED, actor="x" * codec.LARGEST_VALUE)
    with pytest.raises(codec.MessageTooLarge):
        codec.encode(huge)


def test_unknown_fields_of_a_newer_writer_are_ignored() -> None:
    message = codec.encode(MOVED)
    newer = json.dumps({**json.loads(message.value), "from_the_future": 1}).encode()
    assert codec.decode(codec.Message(message.topic, message.key, message.headers, newer)) == MOVED


@settings(max_examples=200, deadline=None)
@given(value=st.binary(max_size=200), header=st.sampled_from([*sorted(CATALOGUE), "nobody.knows.v1"]))
def test_bytes_that_are_no_event_are_unreadable_never_a_crash(value: bytes, header: str) -> None:
    with pytest.raises(codec.UnreadableMessage):
        codec.decode(codec.Message("t", "k", {"ce_type": header}, value))


def test_a_broken_envelope_is_unreadable() -> None:
    message = codec.encode(MOVED)
    for missing in ("ce_id", "ce_type", "ce_subject", "ce_sequence"):
        headers = {name: value for name, value in message.headers.items() if name != missing}
        with pytest.raises(codec.UnreadableMessage):
            codec.read_envelope(codec.Message(message.topic, message.key, headers, message.value))


@pytest.mark.parametrize(
    ("name", "value", "largest"),
    [
        ("ce_sequence", str(2**63), str(2**63 - 1)),
        ("ce_sequence", "one", "1"),
        ("ce_subject", "客" * 667, "客" * 666),
        ("ce_subject", "deal:\x00", "deal:"),
    ],
)
def test_an_envelope_that_no_table_could_hold_is_unreadable(name: str, value: str, largest: str) -> None:
    message = codec.encode(MOVED)
    with pytest.raises(codec.UnreadableMessage):
        codec.read_envelope(replace(message, headers={**message.headers, name: value}))
    codec.read_envelope(replace(message, headers={**message.headers, name: largest}))


def test_watch_keys_tell_values_apart() -> None:
    watch = kpi.Watch(kpi="won_amount", scope="org", grain="quarter")
    others = [
        msgspec.structs.replace(watch, kpi="won_count"),
        msgspec.structs.replace(watch, scope="team:1"),
        msgspec.structs.replace(watch, grain="month"),
        msgspec.structs.replace(watch, start=date(2017, 10, 1), end=date(2018, 1, 1)),
        msgspec.structs.replace(watch, currency="USD"),
        msgspec.structs.replace(watch, process="b2b"),
    ]
    assert len({watch.key, *(other.key for other in others)}) == 7


def test_goal_and_rule_streams_are_their_own() -> None:
    assert goals.GoalProgressed.topic == goals.GoalChanged.topic
    assert notify.RuleChanged.topic != notify.AlertChanged.topic
