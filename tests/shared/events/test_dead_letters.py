"""What is told about an event that could not be applied: the event as it was, and nothing that a broker would refuse."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.events.catalogue import TOPICS, dead_topic
from shared.events.codec import LARGEST_VALUE, Message, encode
from shared.events.dead_letters import HEADERS, LARGEST_HEADERS, OMITTED, Reason, dead_letter_message
from shared.events.goals import TeamChanged

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
TEAM = UUID(int=7)
REASON = Reason(
    letter=UUID(int=1), group="kpi", code="handler_failed", error="ValueError: no", partition=3, offset=17, failed_at=NOW
)  # fmt: skip
# The batches of shared/bus/kafka.py; a broker's default limit is a little higher.
TAKEN = 1_000_000


@pytest.fixture
def event() -> Message:
    return encode(TeamChanged(version=2, recorded_at=NOW, team_id=TEAM, external_id="north"))


def told(original: Message, reason: Reason = REASON) -> Message:
    message = dead_letter_message(original, reason)
    assert message is not None
    return message


def size(message: Message) -> int:
    """No less than what the record takes on the wire."""
    headers = sum(10 + len(name.encode()) + len(value.encode()) for name, value in message.headers.items())
    return 100 + len(message.key.encode()) + headers + len(message.value)


def test_the_event_stays_as_it_was_for_every_tool_that_reads_cloud_events(event: Message) -> None:
    message = told(event)
    assert (message.topic, message.key, message.value) == ("kpi.dead.v1", event.key, event.value)
    assert {name: message.headers[name] for name in event.headers} == event.headers
    assert message.headers.keys() - event.headers.keys() == HEADERS.keys()
    wire = {name: value.encode() for name, value in message.headers.items()}
    read = from_binary_event(KafkaMessage(headers=wire, key=message.key.encode(), value=message.value))
    assert (read.get_type(), read.get_id()) == ("goals.team.changed.v1", event.headers["ce_id"])


def test_the_headers_say_who_could_not_apply_what_and_when(event: Message) -> None:
    message = told(event)
    assert {name: message.headers[name] for name in HEADERS} == {
        "dead_letter_id": "00000000-0000-0000-0000-000000000001",
        "dead_letter_group": "kpi",
        "dead_letter_code": "handler_failed",
        "dead_letter_error": "ValueError: no",
        "dead_letter_topic": "goals.people.v1",
        "dead_letter_partition": "3",
        "dead_letter_offset": "17",
        "dead_letter_failed_at": "2026-11-25T12:00:00Z",
    }


@pytest.mark.parametrize("group", ["kpi.g7", "unheard"])
def test_a_group_without_a_topic_tells_nothing(event: Message, group: str) -> None:
    assert dead_letter_message(event, replace(REASON, group=group)) is None


@pytest.mark.parametrize("group", ["kpi", "notify-deals"])
def test_nothing_goes_round_in_a_circle(event: Message, group: str) -> None:
    assert dead_letter_message(told(event, replace(REASON, group=group)), REASON) is None


def test_one_that_was_sent_back_by_hand_and_failed_again_is_told_with_what_is_so_now(event: Message) -> None:
    first = told(replace(event, value=b"x" * (LARGEST_VALUE + 1)), replace(REASON, group="goals", error="then"))
    again = told(replace(first, topic=event.topic, value=event.value))
    assert (again.headers["dead_letter_group"], again.headers["dead_letter_error"]) == ("kpi", "ValueError: no")
    assert OMITTED in first.headers
    assert OMITTED not in again.headers


def test_the_envelope_has_room_before_all_other_headers(event: Message) -> None:
    many = {f"a{number}": "x" * 1_000 for number in range(100)}
    message = told(replace(event, headers={**many, **event.headers}))
    assert message.headers.items() >= event.headers.items()
    assert message.headers[OMITTED] == "headers"
    assert 50 < sum(name in many for name in message.headers) < 60


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 3_000_000), st.integers(0, 50_000), st.integers(0, 300), st.integers(0, 2_000),
    st.sampled_from(["a", "客", "😀"]),
)  # fmt: skip
def test_whatever_comes_a_broker_takes_what_is_told(value: int, key: int, headers: int, length: int, sign: str) -> None:
    original = Message(
        "goals.people.v1", sign * key, {f"{sign}{number}": sign * length for number in range(headers)}, b"v" * value
    )
    message = told(original, replace(REASON, error=sign * 4_000))
    assert size(message) < TAKEN
    omitted = message.headers.get(OMITTED, "").split(",")
    assert ("value" in omitted) == (value > LARGEST_VALUE) == (message.value != original.value)
    assert ("key" in omitted) == (message.key != original.key)
    assert original.key.startswith(message.key)
    assert ("headers" in omitted) == (not message.headers.items() >= original.headers.items())
    assert "headers" not in omitted or sum(map(size_of, original.headers.items())) > LARGEST_HEADERS


def size_of(header: tuple[str, str]) -> int:
    name, value = header
    return 10 + len(name.encode()) + len(value.encode())


def test_every_group_has_its_own_topic() -> None:
    groups = [topic.dead_letters_of for topic in TOPICS.values() if topic.dead_letters_of is not None]
    assert groups == ["pipeline", "kpi", "goals", "notify", "notify-deals"]
    assert {told(Message("t", "", {}, b""), replace(REASON, group=group)).topic for group in groups} == set(
        map(dead_topic, groups)
    )
