"""The auditor finds what no guard can: an owner that has forgotten what it had told (F22)."""

from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from shared.bus.audit import Audit, Reader, audit_topic
from shared.db.engine import Database
from shared.events.codec import Message
from shared.events.pipeline import DEALS
from tests.faults.toy import ToyExport, World, deal_id, settle, toy_world


@pytest.fixture
async def world(empty_database: Callable[[], str]) -> AsyncIterator[World]:
    async with toy_world(empty_database) as made:
        yield made


async def audited(world: World, patience: float = 0) -> Audit:
    readers = [Reader(world.kpi, world.subscription())]
    return await audit_topic(world.bus, world.export, DEALS, readers, patience)


async def work(world: World) -> None:
    """Relay and consume everything, then leave the partitions to others."""
    consumer = world.consumer()
    await settle(world.relay(), consumer)
    await consumer.close()


async def sold(world: World, changes: int = 30) -> None:
    for number in range(changes):
        await world.change(number % 5, number)
    await work(world)


async def test_nothing_is_found_where_nothing_is_wrong(world: World) -> None:
    await sold(world)
    audit = await audited(world)
    assert (audit.streams, audit.records, audit.findings) == (5, 30, [])


async def restore(world: World, history: Sequence[str]) -> None:
    """Put pipeline's history back to how it was; what the outbox had then was sent long ago."""
    async with world.pipeline.transaction() as tx:
        for statement in history:
            await tx.execute(text(statement))


LAST = "version = (SELECT max(version) FROM history AS newer WHERE newer.deal_id = history.deal_id)"
OLDER = (
    f"DELETE FROM history WHERE {LAST}",
    "UPDATE deal SET version = version - 1",
)


async def test_an_owner_restored_from_an_older_backup_is_found(world: World) -> None:
    await sold(world)
    await restore(world, OLDER)
    findings = (await audited(world)).findings
    stream = f"deal:{deal_id(1)}"
    assert f"the log: {stream}@6: was told, the history does not have it" in findings
    assert f"kpi.toy: {stream}: has applied version 6, the history ends at 5" in findings
    assert len(findings) == 10


async def test_versions_given_again_with_other_content_are_found(world: World) -> None:
    """To every reader they are duplicates; the figures are wrong from then on, and nothing else says so."""
    await sold(world)
    await restore(world, OLDER)
    for number in range(5):
        await world.change(number, 7777)
    await work(world)
    assert {"I6"} <= await world.broken()
    findings = (await audited(world)).findings
    assert sorted(findings) == sorted(
        f"the log: deal:{deal_id(number)}@6: was told otherwise than the history has it" for number in range(5)
    )


async def test_a_deal_that_the_owner_does_not_know_any_more_is_found(world: World) -> None:
    await sold(world)
    await restore(
        world,
        [
            f"DELETE FROM {table} WHERE {column} = '{deal_id(3)}'"
            for table, column in (("history", "deal_id"), ("deal", "id"))
        ],
    )
    findings = (await audited(world)).findings
    assert findings == [
        f"the log: deal:{deal_id(3)}@{version}: was told, the history does not have it" for version in range(1, 7)
    ]


async def test_who_is_behind_is_waited_for_and_then_told(world: World) -> None:
    await sold(world)
    await world.change(2, 5)
    found = (await audited(world, patience=0)).findings
    assert found == [f"kpi.toy: deal:{deal_id(2)}: has applied version 6, the history has 7"]
    await work(world)
    assert (await audited(world)).findings == []


class Late(ToyExport):
    """While its pages are read, the owner goes on."""

    world: World

    async def pages(self, topic: str) -> AsyncIterator[Sequence[Message]]:
        async for page in super().pages(topic):
            await self.world.change(0, 1000)
            await work(self.world)
            yield page


async def test_what_happens_while_it_reads_is_no_finding(world: World) -> None:
    await sold(world)
    world.export = Late(world.pipeline)
    world.export.world = world
    assert (await audited(world)).findings == []


async def test_a_reader_restored_from_an_older_backup_catches_up_by_itself(
    world: World, databases: Callable[[str], str]
) -> None:
    """F21: offsets and state move together; the audit has nothing to say then."""
    await sold(world)
    await world.kpi.close()
    backup = databases(make_url(world.kpi.url).database or "")
    await sold(world)
    await world.kpi.close()
    world.kpi = Database(backup, "kpi")
    assert "I5" in await world.broken()
    await work(world)
    assert await world.broken() == set()
    assert (await audited(world)).findings == []
