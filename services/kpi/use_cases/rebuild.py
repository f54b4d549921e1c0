"""Rebuild: fill a new generation from the owner's history beside live traffic, then read it instead of the old one."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.settings import KpiSettings
from services.kpi.store.cells import count_cells
from services.kpi.store.generations import (
    activate,
    begin_generation,
    rebuilding_alone,
    remove_inactive_generations,
)
from services.kpi.store.marks import add_marks, mark_of_everything
from services.kpi.store.numbers import Numbers
from services.kpi.use_cases.counting import Counting
from services.kpi.use_cases.freshness import GROUP
from shared.bus.arrivals import arrive_all
from shared.bus.consumer import apply_messages
from shared.bus.intake import Intake
from shared.bus.isolation import apply_batch
from shared.bus.offsets import Fence
from shared.bus.protocol import Bus, BusReader, TopicPartition
from shared.bus.streams import waiting_streams
from shared.bus.subscription import OwnerExport, Subscription
from shared.db.engine import Database
from shared.events import pipeline
from shared.tracing import new_cause

TOPICS = (pipeline.DEALS, pipeline.CUSTOMERS)
LARGEST_BATCH = 500
POLL_SECONDS = 0.2
BUILDING = f"{GROUP}.g"
GAPS_AT_ONCE = 100

Positions = Mapping[TopicPartition, int]

_HOLD = text(
    """
    SELECT topic, part, next_off FROM consumer_offset
    WHERE grp = :grp AND topic = ANY(:topics) AND bus_id = :bus_id ORDER BY topic, part FOR NO KEY UPDATE
    """
)
# Of every rebuild, not only of this one: one that was killed left its own.
_FORGET = (
    text("DELETE FROM parked_message WHERE starts_with(grp, :building)"),
    text("DELETE FROM dead_letter WHERE starts_with(grp, :building)"),
)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The generation that is read now, and how many cells of it hold something."""

    generation: int
    cells: int


async def rebuild(database: Database, bus: Bus, export: OwnerExport, settings: KpiSettings) -> Rebuilt:
    """Recompute everything from history and switch to it; live traffic goes on and loses nothing.

    Everything goes through the consumer's own code, with a guard of its own. What breaks off on the way leaves the
    present generation as it is; the next rebuild removes the rest. Raises ExportUnavailable and RebuildRunning.
    """
    async with rebuilding_alone(database):
        await _remove_rest(database)
        async with database.transaction() as tx:
            generation = await begin_generation(tx)
        building = _Building(database, bus, export, settings, generation)
        try:
            await building.fill()
            cells = await building.switch()
        finally:
            await building.clean_up()
    return Rebuilt(generation, cells)


class _Building:
    """A generation in the making."""

    def __init__(
        self, database: Database, bus: Bus, export: OwnerExport, settings: KpiSettings, generation: int
    ) -> None:
        self._database = database
        self._bus = bus
        self._export = export
        self._generation = generation
        counting = Counting(Numbers(database), settings.zone, building=generation)
        self._subscription = Subscription(
            f"{BUILDING}{generation}",
            TOPICS,
            {event: counting.apply for event in pipeline.EVENTS if event.topic in TOPICS},
            guard=counting,
        )
        self._intake = Intake(self._subscription)
        self._reader: BusReader = bus.reader(TOPICS)
        self._positions: dict[TopicPartition, int] = {}

    async def fill(self) -> None:
        """Load the whole history, then what was published meanwhile.

        The end offsets are noted first: what a page does not have yet is committed later, so it is behind them.
        """
        self._positions = dict(await self._bus.end_offsets(self._parts()))
        for topic in TOPICS:
            async for page in self._export.pages(topic):
                await apply_messages(self._database, self._subscription, page)
        await self._reader.assign(self._positions)
        await self._catch_up(await self._bus.end_offsets(self._parts()))
        await self._close_gaps()

    async def switch(self) -> int:
        """Hold the live group where it stands, count what is missing up to there, and switch; returns the cells."""
        async with self._database.transaction() as tx:
            await self._catch_up(await self._hold_live_group(tx))
            await activate(tx, self._generation)
            cells = await count_cells(tx, self._generation)
            # What live had not counted yet may be in the new cells already: it will come as a duplicate, without marks.
            await add_marks(tx, [mark_of_everything(new_cause())])
        return cells

    async def clean_up(self) -> None:
        """Remove whatever is not read."""
        await self._reader.close()
        await _remove_rest(self._database)

    async def _hold_live_group(self, tx: AsyncConnection) -> Positions:
        rows = await tx.execute(_HOLD, {"grp": GROUP, "topics": list(TOPICS), "bus_id": self._bus.id})
        return {TopicPartition(row.topic, row.part): row.next_off for row in rows}

    async def _catch_up(self, ends: Positions) -> None:
        """Apply what is on the bus up to `ends`."""
        while any(self._positions[at] < end for at, end in ends.items()):
            records = await self._reader.poll(LARGEST_BATCH, POLL_SECONDS)
            fence = Fence(self._subscription.group, {})
            await apply_batch(self._database, self._intake, await arrive_all(records), fence)
            self._positions |= {record.at: record.offset + 1 for record in records}

    async def _close_gaps(self) -> None:
        async with self._database.transaction() as tx:
            gaps = await waiting_streams(tx, self._subscription.group, timedelta(0), GAPS_AT_ONCE)
        for gap in gaps:
            await apply_messages(self._database, self._subscription, await self._export.after(gap.topic, gap.stream, 0))

    def _parts(self) -> list[TopicPartition]:
        return [TopicPartition(topic, part) for topic in TOPICS for part in range(self._bus.partitions(topic))]


async def _remove_rest(database: Database) -> None:
    """Remove every generation that is not read, and what rebuilds have parked."""
    async with database.transaction() as tx:
        for statement in _FORGET:
            await tx.execute(statement, {"building": BUILDING})
    await remove_inactive_generations(database)
