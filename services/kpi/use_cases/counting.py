"""Counting: deal events into courses, facts and cells of one generation, a batch at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from weakref import WeakKeyDictionary
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.domain.tally import Tally
from services.kpi.store.cells import add_to_cells
from services.kpi.store.entities import Entity, lock_entities, save_entities, save_versions
from services.kpi.store.facts import Numbering, take_back, tell
from services.kpi.store.freshness import advance_freshness
from services.kpi.store.generations import active_generation
from services.kpi.store.marks import add_marks, marks_of
from services.kpi.store.numbers import Numbers
from shared.bus.protocol import TopicPartition
from shared.bus.subscription import Delivery
from shared.db.faultpoints import faultpoint
from shared.events.pipeline import DealEvent
from shared.foreground import foreground
from shared.tracing import Cause

# Some milliseconds of folding: the loop is shared with HTTP.
EVENTS_PER_SLICE = 32


@dataclass(slots=True)
class _Turn:
    """One transaction: the generation it counts in, and the streams that it has locked as they are in it now."""

    generation: int
    known: dict[str, Entity] = field(default_factory=dict)


class Counting:
    """The fold of the deal stream, and the guard of the streams: their versions live beside the courses.

    Live, the active generation is asked for in every transaction, under the lock of the offsets: a rebuild that flips
    holds the same lock, so that no batch goes to a generation that is no longer read. With `building` everything goes
    to that generation, and nothing is marked for the announcer.
    """

    def __init__(self, numbers: Numbers, zone: ZoneInfo, building: int | None = None) -> None:
        self._numbers = numbers
        self._zone = zone
        self._building = building
        self._turns: WeakKeyDictionary[AsyncConnection, _Turn] = WeakKeyDictionary()

    async def lock(self, tx: AsyncConnection, streams: Sequence[str]) -> Mapping[str, int]:
        """Lock `streams` and return the counted version of each; 0 for a new one."""
        turn = await self._turn(tx)
        turn.known |= await lock_entities(tx, turn.generation, streams)
        return {stream: turn.known[stream].version if stream in turn.known else 0 for stream in streams}

    async def store(self, tx: AsyncConnection, versions: Mapping[str, int]) -> None:
        """Record versions; those that the deals' courses were written with are left alone."""
        turn = await self._turn(tx)
        rest = {
            stream: version
            for stream, version in versions.items()
            if stream not in turn.known or turn.known[stream].version != version
        }
        if rest:
            await save_versions(tx, turn.generation, rest)

    async def apply(self, tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
        """Count deal events (in order per stream, nothing missing); others are let through."""
        deals = [(delivery, delivery.event) for delivery in deliveries if isinstance(delivery.event, DealEvent)]
        events = [(delivery.envelope.stream, event) for delivery, event in deals]
        causes = None
        if self._building is None:
            causes = [delivery.envelope.cause for delivery, _ in deals]
            await advance_freshness(tx, _newest(deals))
        await self._count(tx, await self._turn(tx), events, causes)

    async def _turn(self, tx: AsyncConnection) -> _Turn:
        turn = self._turns.get(tx)
        if turn is None:
            generation = await active_generation(tx) if self._building is None else self._building
            turn = self._turns[tx] = _Turn(generation)
        return turn

    async def _count(
        self,
        tx: AsyncConnection,
        turn: _Turn,
        events: Sequence[tuple[str, DealEvent]],
        causes: Sequence[Cause] | None,
    ) -> None:
        """Count `events`, each with its stream, which is locked; with `causes`, one for each, mark what they touched.

        Cells come last: they are what concurrent writers share.
        """
        generation = turn.generation
        tally = Tally(self._zone, {stream: entity.course for stream, entity in turn.known.items() if entity.course})
        versions: dict[str, int] = {}
        for number, (stream, event) in enumerate(events):
            tally.add(stream, event, number)
            versions[stream] = event.version
            if number % EVENTS_PER_SLICE == EVENTS_PER_SLICE - 1:
                await foreground.give_way()
        changes = tally.changes()
        owners = await self._numbers.owners(tx, {owner for _, owner, _, _ in tally.touched})
        slices = await self._numbers.slices(tx, {dims for *_, dims in tally.touched})
        entities = {stream: Entity(versions[stream], course) for stream, course in tally.courses.items()}
        numbers = Numbering(await save_entities(tx, generation, entities), owners, slices)
        await take_back(tx, tally.taken, numbers)
        await tell(tx, generation, tally.told, numbers)
        if causes is not None:
            await add_marks(tx, marks_of(changes, owners, causes))
        await add_to_cells(tx, generation, changes, owners, slices)
        turn.known |= entities
        faultpoint("kpi.counted")


def _newest(deals: Sequence[tuple[Delivery, DealEvent]]) -> dict[TopicPartition, datetime]:
    """Return when the newest event of each partition was recorded."""
    newest: dict[TopicPartition, datetime] = {}
    for delivery, event in deals:
        at = TopicPartition(delivery.topic, delivery.partition)
        newest[at] = max(newest.get(at, event.recorded_at), event.recorded_at)
    return newest
