"""A rebuild dies at every place around a commit: what is read stays right, and the next rebuild clears what is left."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
import pytest

from services.kpi.settings import KpiSettings
from services.kpi.use_cases.rebuild import rebuild
from services.kpi.use_cases.verify import verify
from shared.bus.consumer import Consumer
from shared.bus.postgres import PostgresBus
from shared.db.faultpoints import KILLED, Crashed, armed, counted, crash
from tests.services.kpi.deal_streams import Deal
from tests.services.kpi.harness import Kpi
from tests.services.kpi.histories import History, consume, won_deal
from tests.services.kpi.rebuild_process import GrowingExport, Told
from tests.system_caller import until

SETTINGS = KpiSettings()
DEALS = 6
# How often one undisturbed rebuild of that company comes to each place.
POINTS = {"kpi-test.commit": 13, "kpi-test.committed": 13, "kpi.counted": 4, "kpi.g2.consumed": 5}
STRIKES = [(place, hit) for place, times in POINTS.items() for hit in sorted({1, 2, times})]
KILLS = [(place, hit) for place, hit in STRIKES if place.startswith("kpi-test.")]
# What a rebuild holds while it works: a session of its own, or a transaction.
_HELD = """
    SELECT application_name, state, query FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
      AND (state <> 'idle' OR query LIKE '%%kpi rebuild%%')
"""


@dataclass
class Company:
    """Deals that live has counted, a cell of them that is wrong, and a deal that comes in pieces during the rebuild."""

    kpi: Kpi
    bus: PostgresBus
    told: list[Deal] = field(default_factory=lambda: [won_deal(number) for number in range(DEALS)])
    late: Deal = field(default_factory=lambda: won_deal(DEALS))

    @property
    def export(self) -> Told:
        return Told(tuple(tuple(deal.messages) for deal in self.told), tuple(self.late.messages))

    @asynccontextmanager
    async def live(self) -> AsyncIterator[Consumer]:
        await self.bus.append([message for deal in self.told for message in deal.messages])
        consumer = await consume(self.kpi, self.bus, History(*self.told))
        try:
            await self.kpi.rows("UPDATE cell SET num = num + 1 WHERE (measure, owner) = (7, 0) RETURNING 1")
            yield consumer
        finally:
            await consumer.close()

    async def rebuild(self) -> None:
        await rebuild(self.kpi.database, self.bus, GrowingExport(self.bus, self.export), SETTINGS)

    async def recovers(self, consumer: Consumer) -> None:
        """Live counts what comes; the next rebuild is right, and leaves nothing of the one that died."""
        await until(self._nothing_held)
        newest = won_deal(DEALS + 1)
        # Its beginning is missing on the bus, and all of it where the rebuild died earlier; twice does no harm.
        await self.bus.append([*self.late.messages, *newest.messages])
        while await consumer.step(timeout=0.05):
            pass
        history = History(*self.told, self.late, newest)
        assert await self.kpi.value("won_count", scope="org", grain="total") == str(DEALS + 2)

        rebuilt = await rebuild(self.kpi.database, self.bus, history, SETTINGS)
        verification = await verify(self.kpi.database, history, SETTINGS)
        assert (verification.differences, verification.behind) == ([], 0)
        assert verification.cells == rebuilt.cells
        assert await self.kpi.value("won_count", scope="org", grain="total") == str(DEALS + 2)
        assert [row.id for row in await self.kpi.rows("SELECT id FROM generation")] == [rebuilt.generation]
        for table in ("cell", "fact", "entity_state"):
            found = await self.kpi.rows(f"SELECT DISTINCT generation FROM {table}")
            assert [row.generation for row in found] == [rebuilt.generation]
        for table in ("parked_message", "dead_letter"):
            assert await self.kpi.rows(f"SELECT grp FROM {table}") == []
        assert await self._nothing_held()

    async def _nothing_held(self) -> bool:
        return await self.kpi.rows(_HELD) == []


@pytest.fixture
def company(kpi: Kpi, bus: PostgresBus) -> Company:
    return Company(kpi, bus)


async def test_every_place_is_struck(company: Company) -> None:
    async with company.live() as consumer:
        with counted() as reached:
            await company.rebuild()
        assert {place: times for place, times in reached.items() if place.startswith("kpi")} == POINTS
        await company.recovers(consumer)


@pytest.mark.parametrize(("place", "hit"), STRIKES)
async def test_a_rebuild_that_is_broken_off_leaves_nothing_wrong(company: Company, place: str, hit: int) -> None:
    """As an interrupt does: the stack unwinds, and the clean-up runs."""
    async with company.live() as consumer:
        with armed(place, hit, crash), pytest.raises(Crashed):
            await company.rebuild()
        await company.recovers(consumer)


@pytest.mark.slow
@pytest.mark.parametrize(("place", "hit"), KILLS)
async def test_a_rebuild_that_is_killed_leaves_nothing_wrong(company: Company, place: str, hit: int) -> None:
    """No clean-up at all, as after kill -9."""
    async with company.live() as consumer:
        assert await killed(company, place, hit) == KILLED
        await company.recovers(consumer)


async def killed(company: Company, place: str, hit: int) -> int | None:
    urls = (company.kpi.database.url, company.bus._database.url)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.services.kpi.rebuild_process", *urls,
        stdin=asyncio.subprocess.PIPE, env={**os.environ, "FAULTPOINT": f"{place}:{hit}"},
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            await process.communicate(msgspec.msgpack.encode(company.export))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode
