"""Ids: time-ordered for new things, derived for events."""

from hypothesis import given
from hypothesis import strategies as st

from shared.ids import event_id, event_id_text, new_id


def test_ids_made_later_sort_later() -> None:
    made = [new_id() for _ in range(1000)]
    assert made == sorted(set(made))
    assert {each.version for each in made} == {7}


@given(st.text(max_size=60), st.integers(0, 2**63))
def test_the_text_of_an_event_id_is_that_of_the_id(stream: str, version: int) -> None:
    assert event_id_text(stream, version) == str(event_id(stream, version))


def test_an_event_id_is_the_same_for_ever() -> None:
    assert event_id_text("deal:0190b7a2-0000-7000-8000-000000000001", 7) == "c5132a28-8796-5b80-9875-715f06bc8e82"
