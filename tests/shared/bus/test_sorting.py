"""Whatever the order in which events come, and however often: each is taken once, in the order of its stream."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from shared.bus.arrivals import Arrival, arrive, without_place
from shared.bus.intake import Sorting
from shared.bus.streams import Waiting
from shared.events.codec import Message, encode
from tests.faults.toy import deal_changed, deal_id

STREAMS, VERSIONS = 3, 6
EVENTS = {
    (number, version): arrive(without_place([encode(deal_changed(deal_id(number), version, version, 0))])[0])
    for number in range(STREAMS)
    for version in range(1, VERSIONS + 1)
}
deliveries = st.permutations(2 * [*EVENTS]).flatmap(
    lambda order: st.lists(st.integers(1, len(order)), max_size=5).map(lambda cuts: _cut(order, sorted(set(cuts))))
)


def _cut(order: list[tuple[int, int]], cuts: list[int]) -> list[list[tuple[int, int]]]:
    return [order[start:end] for start, end in zip([0, *cuts], [*cuts, len(order)], strict=True)]


@given(deliveries)
def test_each_event_once_and_in_order(batches: list[list[tuple[int, int]]]) -> None:
    versions = {f"deal:{deal_id(number)}": 0 for number in range(STREAMS)}
    parked: defaultdict[str, dict[int, Arrival]] = defaultdict(dict)
    taken: defaultdict[str, list[int]] = defaultdict(list)
    for batch in batches:
        sorting = Sorting(versions, Waiting(parked, {}))
        for event in batch:
            sorting.add(EVENTS[event])
        for arrival in sorting.accepted:
            assert arrival.delivery is not None
            taken[arrival.delivery.event.stream].append(arrival.delivery.event.version)
        assert sorting.outcome.count("dead") == 0
        versions = dict(sorting.versions)
        keep(parked, sorting)
    assert taken == {stream: [*range(1, VERSIONS + 1)] for stream in versions}
    assert not any(parked.values())


def keep(parked: defaultdict[str, dict[int, Arrival]], sorting: Sorting) -> None:
    """Do what the tables would do."""
    for stream, settled in sorting.to_unpark.items():
        parked[stream] = {version: arrival for version, arrival in parked[stream].items() if version > settled}
    for (stream, version), message in sorting.to_park.items():
        parked[stream].setdefault(version, arrive(without_place([message])[0]))


def test_what_waits_behind_the_unreadable_keeps_waiting() -> None:
    stream = f"deal:{deal_id(0)}"
    readable = EVENTS[0, 1].record.message
    unreadable = arrive(without_place([Message(readable.topic, readable.key, readable.headers, b"{")])[0])
    sorting = Sorting({stream: 0}, Waiting({}, {}))
    for arrival in (EVENTS[0, 2], unreadable, EVENTS[0, 3]):
        sorting.add(arrival)
    assert sorting.accepted == []
    assert sorting.dead == [unreadable]
    assert sorting.advanced == {}
    assert sorted(version for _, version in sorting.to_park) == [2, 3]


def test_the_unreadable_that_had_been_applied_before_is_only_a_duplicate() -> None:
    stream = f"deal:{deal_id(0)}"
    readable = EVENTS[0, 1].record.message
    unreadable = arrive(without_place([Message(readable.topic, readable.key, readable.headers, b"{")])[0])
    sorting = Sorting({stream: 4}, Waiting({}, {}))
    sorting.add(unreadable)
    assert sorting.outcome.count("duplicate") == 1
    assert sorting.dead == []
