"""New deals by COPY are, to the letter, what the statement for any change writes."""

from collections.abc import Sequence

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.course import Entry, record_course
from services.pipeline.domain.deal import DealChange
from services.pipeline.domain.deal_fields import DealFields
from services.pipeline.store.changes import write_changes
from services.pipeline.store.new_deals import NewDeals
from shared.db.errors import is_infrastructure
from shared.tracing import new_cause
from tests.services.pipeline.building import NOW, process, recording
from tests.services.pipeline.serving import Pipeline

_WRITTEN = (
    "SELECT * FROM deal ORDER BY id",
    "SELECT * FROM deal_history ORDER BY deal_id, version",
    "SELECT * FROM task ORDER BY id",
    "SELECT key, (headers->>'ce_sequence')::int, topic, headers, value FROM outbox ORDER BY id",
)


def told_deal(number: int) -> DealChange:
    """A deal with a few entries, dated and not, and fields of every kind."""
    stages = [stage.code for stage in process().stages[: 1 + number % 3]]
    course = [Entry(stage, NOW if place != 1 else None) for place, stage in enumerate(stages)]
    told = DealFields(
        name=f"二泵 {number}", owner="external:ann", amount=128050 + number, currency="CNY", product="GTX", source="crm",
        external_id=f"x-{number}", fields={"budget": True, "n": 3, "f": 1.5, "t": 'a "quoted"\n\\ 二泵', "none": None},
    )  # fmt: skip
    change = record_course(process(), None, course, told, recording())
    assert change is not None
    return DealChange(change.deal, change.events, change.tasks, {1: "why, \\N"} if number % 2 else None)


async def written(tx: AsyncConnection) -> list[list[str]]:
    return [[str(row) for row in await tx.exec_driver_sql(statement)] for statement in _WRITTEN]


async def copied(tx: AsyncConnection, changes: Sequence[DealChange]) -> None:
    news = NewDeals()
    for change in changes:
        news.add(change, CAUSE)
    await news.write(tx)


CAUSE = new_cause("file")


async def test_copied_rows_are_those_of_the_statement(pipeline: Pipeline) -> None:
    changes = [told_deal(number) for number in range(30)]
    async with pipeline.database.transaction() as tx:
        await write_changes(tx, changes, [CAUSE] * len(changes))
        expected = await written(tx)
        await tx.rollback()
    async with pipeline.database.transaction() as tx:
        await tx.exec_driver_sql("SELECT 1")
        await copied(tx, changes)
        found = await written(tx)
    assert [sorted(rows) for rows in found] == [sorted(rows) for rows in expected]
    assert [len(rows) > 0 for rows in found] == [True] * 4
    keys = [(message.key, int(message.headers["ce_sequence"])) for message in await pipeline.sent()]
    for key in {key for key, _ in keys}:
        versions = [version for other, version in keys if other == key]
        assert versions == list(range(1, len(versions) + 1))


async def test_a_taken_external_id_refuses_all_and_is_no_fault_of_the_surroundings(pipeline: Pipeline) -> None:
    async with pipeline.database.transaction() as tx:
        await write_changes(tx, [told_deal(1)])
    async with pipeline.database.engine.connect() as tx:
        await tx.exec_driver_sql("SELECT 1")
        with pytest.raises(asyncpg.UniqueViolationError) as refused:
            await copied(tx, [told_deal(0), told_deal(1)])
        assert not is_infrastructure(refused.value)
    assert len(await pipeline.rows("SELECT 1 FROM deal")) == 1
