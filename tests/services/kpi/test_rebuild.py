"""Rebuild and verify: beside live traffic, to the digit."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from services.kpi.settings import KpiSettings
from services.kpi.store.generations import (
    RebuildRunning,
    activate,
    begin_generation,
    held_generation,
    rebuilding_alone,
)
from services.kpi.use_cases import rebuild as rebuilding
from services.kpi.use_cases.rebuild import rebuild
from services.kpi.use_cases.verify import verify
from shared.bus.postgres import PostgresBus
from shared.events.codec import Message
from shared.events.goals import GoalChanged
from shared.events.kpi import Watch
from tests.services.kpi.deal_streams import RECORDED, Deal, at
from tests.services.kpi.harness import Kpi
from tests.services.kpi.histories import History, consume, won_deal
from tests.system_caller import until

SETTINGS = KpiSettings()


async def test_verify_finds_a_wrong_cell_and_rebuild_puts_it_right(kpi: Kpi, bus: PostgresBus) -> None:
    history = History(*(won_deal(number) for number in range(5)))
    await bus.append([message for deal in history.deals for message in deal.messages])
    consumer = await consume(kpi, bus, history)
    before = await verify(kpi.database, history, SETTINGS)
    assert (before.differences, before.behind) == ([], 0)
    assert before.cells > 40

    await kpi.rows("UPDATE cell SET num = num + 1 WHERE (measure, owner) = (7, 0) RETURNING 1")
    wrong = await verify(kpi.database, history, SETTINGS)
    assert len(wrong.differences) == 5
    assert wrong.cells == before.cells

    rebuilt = await rebuild(kpi.database, bus, history, SETTINGS)
    assert rebuilt.cells == before.cells
    assert (await verify(kpi.database, history, SETTINGS)).differences == []
    assert [row.id for row in await kpi.rows("SELECT id FROM generation")] == [rebuilt.generation]
    for table in ("cell", "fact", "entity_state"):
        assert {row[0] for row in await kpi.rows(f"SELECT DISTINCT generation FROM {table}")} == {rebuilt.generation}

    # Live goes on in the new generation.
    late = won_deal(9)
    history.deals.append(late)
    await bus.append(late.messages)
    while await consumer.step(timeout=0.05):
        pass
    assert await kpi.value("won_count", scope="org", grain="total") == "6"
    assert (await verify(kpi.database, history, SETTINGS)).differences == []
    await consumer.close()


async def test_verify_tells_a_lost_stream_and_what_is_not_counted_yet(kpi: Kpi, bus: PostgresBus) -> None:
    first, second = won_deal(1), won_deal(2)
    await kpi.apply(*first.messages, *second.messages)
    third = won_deal(3)
    verification = await verify(kpi.database, History(first, third), SETTINGS)
    assert verification.behind == 3
    assert verification.differences[0] == f"{second.stream}: counted up to version 3, the history has 0"
    assert len(verification.differences) > 1


async def test_rebuild_beside_live_traffic_loses_and_doubles_nothing(kpi: Kpi, bus: PostgresBus) -> None:
    history = History(*(won_deal(number) for number in range(20)))
    await bus.append([message for deal in history.deals for message in deal.messages])
    consumer = await consume(kpi, bus, history)
    stop = asyncio.Event()

    async def consuming() -> None:
        while not stop.is_set() or any((await consumer.lag()).values()):
            await consumer.step(timeout=0.02)

    async def selling() -> None:
        for number in range(20, 60):
            deal = won_deal(number)
            for message in deal.messages:
                await bus.append([message])
            history.deals.append(deal)
            history.deals[number % 20].changed(amount=5000 + number)
            await bus.append(history.deals[number % 20].messages[-1:])

    live = asyncio.create_task(consuming())
    sales = asyncio.create_task(selling())
    generations = []
    while not sales.done():
        generations.append((await rebuild(kpi.database, bus, history, SETTINGS)).generation)
    await sales
    generations.append((await rebuild(kpi.database, bus, history, SETTINGS)).generation)
    stop.set()
    await live
    await consumer.close()
    assert len(generations) > 1
    verification = await verify(kpi.database, history, SETTINGS)
    assert (verification.differences, verification.behind) == ([], 0)
    assert await kpi.value("won_count", scope="org", grain="total") == "60"


async def test_events_that_only_the_bus_has_are_in_the_new_generation(kpi: Kpi, bus: PostgresBus) -> None:
    told, only_on_bus = won_deal(1), won_deal(2)

    class LateOnTheBus(History):
        async def pages(self, topic: str) -> AsyncIterator[Sequence[Message]]:
            async for page in super().pages(topic):
                yield page
            if topic == told.events[0].topic:
                await bus.append(only_on_bus.messages)

    history = LateOnTheBus(told)
    await bus.append(told.messages)
    await (await consume(kpi, bus, history)).close()
    await rebuild(kpi.database, bus, history, SETTINGS)
    assert await kpi.value("won_count", scope="org", grain="total") == "2"


async def test_what_live_counted_just_before_the_switch_is_not_lost(
    kpi: Kpi, bus: PostgresBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, sold_meanwhile = won_deal(1), won_deal(2)
    history = History(told)
    await bus.append(told.messages)
    consumer = await consume(kpi, bus, history)
    filled = rebuilding._Building.fill

    async def fill_and_sell(building: rebuilding._Building) -> None:
        await filled(building)
        await bus.append(sold_meanwhile.messages)
        while await consumer.step(timeout=0.05):
            pass

    monkeypatch.setattr(rebuilding._Building, "fill", fill_and_sell)
    await rebuild(kpi.database, bus, history, SETTINGS)
    assert await consumer.step(timeout=0.05) == 0
    assert await kpi.value("won_count", scope="org", grain="total") == "2"
    await consumer.close()


async def test_a_switch_has_every_watch_looked_at_again(kpi: Kpi, bus: PostgresBus) -> None:
    watch = Watch(kpi="won_count", scope="org", grain="total")
    goal = GoalChanged(
        version=1, recorded_at=RECORDED, goal_id=Deal().id, kpi="won_count", scope="org",
        period_start=at("2026-01-01").date(), period_end=at("2027-01-01").date(), target="1", watches=(watch,),
    )  # fmt: skip
    await kpi.apply(goal)
    assert [event.value for event in await kpi.announce()] == ["0"]
    # The history knows a deal that live never heard of.
    await rebuild(kpi.database, bus, History(won_deal(1)), SETTINGS)
    assert [event.value for event in await kpi.announce()] == ["1"]


async def test_one_rebuild_at_a_time(kpi: Kpi, bus: PostgresBus) -> None:
    async with rebuilding_alone(kpi.database):
        with pytest.raises(RebuildRunning):
            await rebuild(kpi.database, bus, History(), SETTINGS)
    assert (await rebuild(kpi.database, bus, History(), SETTINGS)).cells == 0


async def test_who_waits_for_a_switch_holds_the_new_generation(kpi: Kpi) -> None:
    """The row that was waited for is retired then, and the new one is not in the waiting statement's snapshot."""
    async with kpi.database.transaction() as switching:
        generation = await begin_generation(switching)
        await activate(switching, generation)

        async def holding() -> int:
            async with kpi.database.transaction() as tx:
                return await held_generation(tx)

        waiting = asyncio.create_task(holding())
        await until(lambda: kpi.rows("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
    assert await waiting == generation
