"""Applies arrivals within one transaction: each event once, in the order of its stream, to the use case it is for."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import groupby

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.bus.arrivals import Arrival
from shared.bus.dead_letter_rows import UNREADABLE, DeadLetter, keep_dead_letters
from shared.bus.streams import StreamPositions, Waiting, load_waiting, park, settle_dead_letters, unpark
from shared.bus.subscription import Delivery, Handler, StreamGuard, Subscription
from shared.db.faultpoints import faultpoint
from shared.events.codec import Message
from shared.tracing import caused_by


@dataclass(slots=True)
class Outcome:
    """What became of arrivals: how many of each event type were applied, skipped, duplicate, parked or dead."""

    results: Counter[tuple[str, str]] = field(default_factory=Counter)
    applied: list[Delivery] = field(default_factory=list)

    def count(self, result: str) -> int:
        """Return how many events had `result`."""
        return sum(number for (_, known), number in self.results.items() if known == result)

    def add(self, other: "Outcome") -> None:
        self.results.update(other.results)
        self.applied.extend(other.applied)


class Sorting:
    """Decides about arrivals in their order, given the versions applied so far and what waits; pure."""

    def __init__(self, versions: Mapping[str, int], waiting: Waiting, *, drain: bool = True) -> None:
        self.versions = dict(versions)
        self.accepted: list[Arrival] = []
        self.dead: list[Arrival] = []
        self.outcome = Outcome()
        self._known = dict(versions)
        self._parked = {stream: dict(parked) for stream, parked in waiting.parked.items()}
        self._buried = waiting.dead
        self._new: dict[tuple[str, int], Arrival] = {}
        self._drain = drain

    def add(self, arrival: Arrival) -> None:
        stream = arrival.stream
        if stream is None or arrival.envelope is None:
            self._take(arrival)
            return
        version, current = arrival.envelope.version, self.versions[stream]
        if version <= current:
            self._count(arrival, "duplicate")
        elif version > current + 1:
            self._count(arrival, "parked")
            self._new[stream, version] = arrival
            self._parked.setdefault(stream, {})[version] = arrival
        else:
            self._advance(stream, arrival)

    def _advance(self, stream: str, arrival: Arrival) -> None:
        """Take the next event of a stream, then what waited for it."""
        following: Arrival | None = arrival
        waiting = self._parked.get(stream, {})
        while following is not None and self._take(following):
            self.versions[stream] += 1
            following = waiting.get(self.versions[stream] + 1) if self._drain else None

    def _take(self, arrival: Arrival) -> bool:
        """Return False for what cannot be read: its stream stands still until it is replayed."""
        if arrival.fault is not None:
            self.dead.append(arrival)
            self._count(arrival, "dead")
            return False
        if arrival.delivery is None:
            self._count(arrival, "skipped")
        else:
            self.accepted.append(arrival)
        return True

    def _count(self, arrival: Arrival, result: str) -> None:
        self.outcome.results[arrival.type, result] += 1

    @property
    def advanced(self) -> dict[str, int]:
        return {stream: version for stream, version in self.versions.items() if version != self._known[stream]}

    @property
    def to_park(self) -> dict[tuple[str, int], Message]:
        """The new ones that still wait; a dead one stands in the dead letters, not here."""
        dead = {id(arrival) for arrival in self.dead}
        return {
            (stream, version): arrival.record.message
            for (stream, version), arrival in self._new.items()
            if version > self.versions[stream] and id(arrival) not in dead
        }

    @property
    def to_unpark(self) -> dict[str, int]:
        """Streams with parked events, and the version up to which those are settled."""
        settled = {stream: self.versions[stream] for stream in self._parked}
        for arrival in self.dead:
            if arrival.stream in settled and arrival.envelope is not None:
                settled[arrival.stream] = arrival.envelope.version
        return settled

    @property
    def to_settle(self) -> dict[str, int]:
        """Streams that have come past a dead letter, and their versions."""
        return {
            stream: self.versions[stream]
            for stream, versions in self._buried.items()
            if min(versions) <= self.versions[stream]
        }


class Intake:
    """The consuming end of one subscription."""

    sorting = Sorting

    def __init__(self, subscription: Subscription) -> None:
        self.group = subscription.group
        self.guard: StreamGuard = subscription.guard or StreamPositions(subscription.group)
        self._handlers = subscription.handlers

    async def apply(self, tx: AsyncConnection, arrivals: Sequence[Arrival], *, drain: bool = True) -> Outcome:
        """Guard, park, drain what waited (unless told otherwise) and hand over; raises what a use case raises."""
        streams = sorted({arrival.stream for arrival in arrivals if arrival.stream is not None})
        versions = await self.guard.lock(tx, streams) if streams else {}
        waiting = await load_waiting(tx, self.group, streams) if streams else Waiting({}, {})
        sorting = self.sorting(versions, waiting, drain=drain)
        for arrival in arrivals:
            sorting.add(arrival)
        await self._hand_over(tx, sorting)
        faultpoint("consumer.applied")
        await self._store(tx, sorting)
        return sorting.outcome

    async def _hand_over(self, tx: AsyncConnection, sorting: Sorting) -> None:
        for handler, deliveries in self._runs(sorting):
            outcome = "skipped" if handler is None else "applied"
            sorting.outcome.results.update((delivery.envelope.type, outcome) for delivery in deliveries)
            if handler is not None:
                causes = {delivery.envelope.cause for delivery in deliveries}
                with caused_by(causes.pop()) if len(causes) == 1 else nullcontext():
                    await handler(tx, deliveries)
                sorting.outcome.applied.extend(deliveries)

    def _runs(self, sorting: Sorting) -> Iterator[tuple[Handler | None, list[Delivery]]]:
        """Neighbours for the same use case go to it together."""
        deliveries = (arrival.delivery for arrival in sorting.accepted if arrival.delivery is not None)
        for handler, run in groupby(deliveries, key=lambda delivery: self._handlers.get(type(delivery.event))):
            yield handler, list(run)

    async def _store(self, tx: AsyncConnection, sorting: Sorting) -> None:
        if sorting.advanced:
            await self.guard.store(tx, sorting.advanced)
        await unpark(tx, self.group, sorting.to_unpark)
        await settle_dead_letters(tx, self.group, sorting.to_settle)
        await park(tx, self.group, sorting.to_park)
        letters = [DeadLetter.of(self.group, arrival, UNREADABLE, str(arrival.fault)) for arrival in sorting.dead]
        await keep_dead_letters(tx, letters)
