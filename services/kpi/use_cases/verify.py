"""Verify: recompute every cell from the owner's history in memory and compare, both ways, as text."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from services.kpi.domain.definitions import NOTHING, Sums
from services.kpi.domain.tally import CellKey, Tally
from services.kpi.settings import KpiSettings
from services.kpi.store.cells import all_cells
from services.kpi.store.entities import all_versions
from services.kpi.store.generations import active_generation
from shared.bus.arrivals import arrive_all, without_place
from shared.bus.subscription import OwnerExport
from shared.db.engine import Database
from shared.events.pipeline import DEALS, DealEvent


@dataclass(frozen=True, slots=True)
class Verification:
    """How many cells were compared and what differs; `behind` events of history are not counted yet."""

    cells: int
    differences: list[str]
    behind: int


@dataclass(slots=True)
class _Recomputed:
    """Cells made from history, up to the versions that are counted."""

    versions: Mapping[str, int]
    cells: dict[CellKey, Sums] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    behind: int = 0

    def add(self, tally: Tally) -> None:
        for key, change in tally.changes().items():
            self.cells[key] = self.cells.get(key, NOTHING).plus(Sums(change.num, change.den, change.n))


async def verify(database: Database, export: OwnerExport, settings: KpiSettings) -> Verification:
    """Compare the cells with what history says at exactly the counted versions; raises ExportUnavailable."""
    async with database.snapshot() as tx:
        generation = await active_generation(tx)
        versions = await all_versions(tx, generation)
        live = await all_cells(tx, generation)
    recomputed = _Recomputed({stream: version for stream, version in versions.items() if stream.startswith("deal:")})
    async for page in export.pages(DEALS):
        tally = Tally(settings.zone, {})
        for arrival in await arrive_all(without_place(page)):
            if arrival.delivery is not None and isinstance(arrival.delivery.event, DealEvent):
                _fold(recomputed, tally, arrival.delivery.event)
        recomputed.add(tally)
    expected = {key: sums for key, sums in recomputed.cells.items() if any(sums)}
    differences = [*_missing_streams(recomputed), *_differences(live, expected)]
    return Verification(len(live.keys() | expected.keys()), differences, recomputed.behind)


def _fold(recomputed: _Recomputed, tally: Tally, event: DealEvent) -> None:
    if event.version > recomputed.versions.get(event.stream, 0):
        recomputed.behind += 1
        return
    recomputed.seen[event.stream] = event.version
    tally.add(event.stream, event)


def _missing_streams(recomputed: _Recomputed) -> Iterator[str]:
    for stream, version in recomputed.versions.items():
        told = recomputed.seen.get(stream, 0)
        if told < version:
            yield f"{stream}: counted up to version {version}, the history has {told}"


def _differences(live: Mapping[CellKey, Sums], expected: Mapping[CellKey, Sums]) -> Iterator[str]:
    for key in sorted(live.keys() | expected.keys(), key=str):
        counted, right = live.get(key, NOTHING), expected.get(key, NOTHING)
        if str(counted) != str(right):
            yield f"{key}: counted {counted}, the history says {right}"
