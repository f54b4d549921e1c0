"""The one write of deals, on a real database: all of it or nothing, in order, and fast for many."""

import asyncio
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from services.pipeline.domain.course import Entry, record_course
from services.pipeline.domain.deal import DealChange
from services.pipeline.domain.deal_fields import change_fields
from services.pipeline.store.changes import write_changes
from services.pipeline.store.deals import courses_of, history_of, ids_by_external_id, lock_deals
from services.pipeline.store.move_locks import LockedDeal, lock_for_moves
from services.pipeline.store.owners import Owner
from services.pipeline.store.tasks import tasks_of_present_visits
from shared.tracing import new_cause
from tests.services.pipeline.building import NOW, new_deal, process, recording
from tests.services.pipeline.serving import Pipeline


def full_deal(external_id: str | None = None) -> DealChange:
    return new_deal(
        owner="external:ann", amount=128050, currency="CNY", product="GTX", source="crm", external_id=external_id,
        fields={"budget": True, "n": 3, "f": 1.5, "t": "二泵"},
    )  # fmt: skip


async def test_a_deal_comes_back_as_it_was_written(pipeline: Pipeline):
    change = full_deal("7")
    async with pipeline.database.transaction() as tx:
        await write_changes(tx, [change])
    async with pipeline.database.transaction() as tx:
        assert await lock_deals(tx, [change.deal.id]) == {change.deal.id: change.deal}
        assert (await tasks_of_present_visits(tx, [change.deal.id]))[change.deal.id] == list(change.tasks)
        assert (await history_of(tx, [change.deal.id]))[change.deal.id] == list(change.events)
        assert await ids_by_external_id(tx, "crm", ["7", "8"]) == {"7": change.deal.id}
        assert await ids_by_external_id(tx, None, ["7"]) == {}


async def test_history_and_outbox_hold_the_same_messages_with_their_own_causes(pipeline: Pipeline):
    changes = [full_deal(), full_deal()]
    causes = [new_cause("first"), new_cause("second")]
    async with pipeline.database.transaction() as tx:
        await write_changes(tx, changes, causes)
    sent = await pipeline.sent()
    assert {message.key: message.headers["ce_correlationid"] for message in sent} == {
        changes[0].events[0].stream: "first",
        changes[1].events[0].stream: "second",
    }
    rows = await pipeline.rows("SELECT headers, value FROM deal_history")
    assert {bytes(row.value) for row in rows} == {message.value for message in sent}


async def test_a_rollback_leaves_nothing(pipeline: Pipeline):
    await pipeline.database.outbox_written.wait(0.01)

    async def fails_at_the_end() -> None:
        async with pipeline.database.transaction() as tx:
            await write_changes(tx, [full_deal()])
            raise KeyError

    with pytest.raises(KeyError):
        await fails_at_the_end()
    for table in ("deal", "deal_history", "task", "outbox"):
        assert await pipeline.rows(f"SELECT * FROM {table}") == [], table
    assert not await pipeline.database.outbox_written.wait(0.01)


async def test_a_taken_version_or_external_id_refuses_the_whole_statement(pipeline: Pipeline):
    change = full_deal("7")
    async with pipeline.database.transaction() as tx:
        await write_changes(tx, [change])
    for twice in ([change], [new_deal(), full_deal("7")]):
        async with pipeline.database.engine.connect() as tx:
            with pytest.raises(IntegrityError):
                await write_changes(tx, twice)
    assert len(await pipeline.rows("SELECT 1 FROM deal_history")) == 1


async def test_the_outbox_is_in_order_of_versions_for_each_deal(pipeline: Pipeline):
    entries = [Entry("visit", NOW), Entry("offer", NOW), Entry("signing", NOW), Entry("closed", NOW)]
    changes = [record_course(process(), None, entries, {"name": f"deal {n}"}, recording()) for n in range(500)]
    async with pipeline.database.transaction() as tx:
        await write_changes(tx, [change for change in changes if change])
    found: dict[str, list[int]] = {}
    for message in await pipeline.sent():
        found.setdefault(message.key, []).append(int(message.headers["ce_sequence"]))
    assert len(found) == 500
    assert all(versions == [1, 2, 3, 4] for versions in found.values())
    async with pipeline.database.transaction() as tx:
        ids = [UUID(key.removeprefix("deal:")) for key in found]
        assert {entry.stage.code for entry in (await courses_of(tx, ids))[ids[0]]} == {entry.stage for entry in entries}


async def test_tasks_are_replaced_and_what_is_told_is_kept(pipeline: Pipeline):
    change = full_deal()
    changed = change_fields(change.deal, {"product": "MG"}, recording(5))
    assert changed is not None
    task = msgspec.structs.replace(change.tasks[0], status="done", done_at=NOW, result={"link": "doc"}, version=2)
    async with pipeline.database.transaction() as tx:
        await write_changes(tx, [change])
        await write_changes(tx, [DealChange(changed.deal, changed.events, (task,), {2: "because"})])
        assert (await lock_deals(tx, [change.deal.id]))[change.deal.id] == changed.deal
        assert (await tasks_of_present_visits(tx, [change.deal.id]))[change.deal.id] == [task, change.tasks[1]]
        reasons = (await tx.execute(text("SELECT reason FROM deal_history ORDER BY version"))).scalars().all()
    assert reasons == [None, "because"]


async def test_a_lock_that_had_to_wait_reads_what_was_committed_meanwhile(pipeline: Pipeline):
    change = full_deal()
    changed = change_fields(change.deal, {"product": "MG"}, recording(5))
    assert changed is not None
    done = msgspec.structs.replace(change.tasks[0], status="done", done_at=NOW, version=2)
    async with pipeline.database.transaction() as tx:
        await write_changes(tx, [change])

    async def lock() -> LockedDeal:
        async with pipeline.database.transaction() as tx:
            return (await lock_for_moves(tx, [change.deal.id]))[change.deal.id]

    async with pipeline.database.transaction() as tx:
        assert (await lock_for_moves(tx, [change.deal.id]))[change.deal.id] == LockedDeal(
            change.deal, change.tasks, Owner(None, "ann", False)
        )
        waiting = asyncio.create_task(lock())
        await asyncio.sleep(0.1)
        await write_changes(tx, [DealChange(changed.deal, changed.events, (done,))])
        assert not waiting.done()
    assert await waiting == LockedDeal(changed.deal, (done, change.tasks[1]), Owner(None, "ann", False))
