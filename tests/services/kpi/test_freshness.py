"""Waiting for an event to be counted, by many at once."""

import asyncio

import pytest
from sqlalchemy import event

from services.kpi.use_cases.freshness import Commits
from tests.services.kpi.deal_streams import Deal, at
from tests.services.kpi.harness import Kpi


def sold() -> Deal:
    return Deal().created("lead", at("2026-03-01 01:00")).moved("won", at("2026-03-01 02:00"))


async def test_those_who_wait_together_look_together_and_each_hears_of_its_own(kpi: Kpi) -> None:
    deals = [sold() for _ in range(30)]
    for deal in deals[:20]:
        await kpi.apply(*deal.messages)
    looks: list[str] = []
    event.listen(kpi.database.engine.sync_engine, "before_cursor_execute", lambda *told: looks.append(told[2]))
    commits = Commits()
    found = await asyncio.gather(*(commits.counted(kpi.database, deal.stream) for deal in deals))
    assert found == [len(deal.messages) for deal in deals[:20]] + [0] * 10
    assert len([statement for statement in looks if "entity_state" in statement]) <= 2


async def test_a_look_begins_after_it_was_asked_for(kpi: Kpi) -> None:
    commits, deal = Commits(), sold()
    early = asyncio.create_task(commits.counted(kpi.database, deal.stream))
    await asyncio.sleep(0)
    await kpi.apply(*deal.messages)
    assert await commits.counted(kpi.database, deal.stream) == len(deal.messages)
    await early


async def test_one_who_gives_up_does_not_end_the_look_of_the_others(kpi: Kpi) -> None:
    commits, deal = Commits(), sold()
    await kpi.apply(*deal.messages)
    first = asyncio.create_task(commits.counted(kpi.database, deal.stream))
    second = asyncio.create_task(commits.counted(kpi.database, deal.stream))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second == len(deal.messages)
