"""What an operator sees of dead letters and can do about them; that they are found is proven in tests/faults."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.bus.consumer import apply_messages, parked_streams
from shared.bus.dead_letter_rows import DeadLetter
from shared.bus.dead_letters import UnknownDeadLetter, expire_dead_letters, list_dead_letters, replay, show
from shared.bus.subscription import Delivery, Subscription
from shared.events.codec import Message, encode
from shared.events.pipeline import DEALS, DealChanged
from tests.faults.toy import GROUP, World, deal_changed, deal_id


async def refuse(tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
    raise ValueError("not today\x00")


def refusing(group: str = GROUP) -> Subscription:
    return Subscription(group, (DEALS,), {DealChanged: refuse})


def changes(number: int, versions: int) -> list[Message]:
    return [encode(deal_changed(deal_id(number), version, version, version - 1)) for version in range(1, versions + 1)]


async def letters(world: World, group: str | None = None) -> Sequence[DeadLetter]:
    async with world.kpi.transaction() as tx:
        return await list_dead_letters(tx, group, 100)


async def test_the_list_is_paged_and_can_be_of_one_group(world: World) -> None:
    for number in range(5):
        await apply_messages(world.kpi, refusing(), changes(number, 1))
    await apply_messages(world.kpi, refusing("notify.toy"), changes(9, 1))
    everything = await letters(world)
    assert len(everything) == 6
    assert [letter.failed_at for letter in everything] == sorted(
        (letter.failed_at for letter in everything), key=lambda at: at.timestamp() if at else 0, reverse=True
    )
    assert [letter.stream for letter in await letters(world, "notify.toy")] == [f"deal:{deal_id(9)}"]
    paged: list[DeadLetter] = []
    async with world.kpi.transaction() as tx:
        while page := await list_dead_letters(tx, GROUP, 2, after=paged[-1].id if paged else None):
            assert len(page) <= 2
            paged.extend(page)
    assert paged == [letter for letter in everything if letter.group == GROUP]


async def test_one_is_shown_with_all_that_is_needed_to_try_again(world: World) -> None:
    (message,) = changes(1, 1)
    await apply_messages(world.kpi, refusing(), [message])
    (letter,) = await letters(world)
    async with world.kpi.transaction() as tx:
        shown = await show(tx, letter.id)
        assert await show(tx, uuid4()) is None
    assert shown == letter
    assert letter.message == message
    assert (letter.type, letter.version, letter.code) == ("pipeline.deal.changed.v1", 1, "handler_failed")
    assert letter.error == "ValueError: not today"


async def test_the_same_event_is_the_same_dead_letter_however_often_it_fails(world: World) -> None:
    for _ in range(3):
        await apply_messages(world.kpi, refusing(), changes(1, 1))
    (letter,) = await letters(world)
    assert (await replay(world.kpi, [refusing()], letter.id)).result == "failed"
    assert [known.id for known in await letters(world)] == [letter.id]


async def test_a_replay_applies_it_and_what_was_parked_behind(world: World) -> None:
    await apply_messages(world.kpi, refusing(), changes(1, 4))
    (letter,) = await letters(world)
    async with world.kpi.transaction() as tx:
        assert await parked_streams(tx, GROUP) == 1
    assert (await replay(world.kpi, [world.subscription()], letter.id)).result == "applied"
    async with world.kpi.transaction() as tx:
        assert await parked_streams(tx, GROUP) == 0
        assert (await tx.execute(text("SELECT version FROM ledger ORDER BY 1"))).scalars().all() == [1, 2, 3, 4]
    (letter,) = await letters(world)
    assert letter.replayed_at is not None


async def test_a_replay_before_its_turn_waits(world: World) -> None:
    """Its predecessor has been lost with another database: nothing may be applied over the gap."""
    await apply_messages(world.kpi, refusing(), changes(1, 1))
    (letter,) = await letters(world)
    async with world.kpi.transaction() as tx:
        await tx.execute(text('UPDATE dead_letter SET version = 3, headers = headers || \'{"ce_sequence": "3"}\''))
        await tx.execute(text("UPDATE dead_letter SET value = :value"), {"value": changes(1, 3)[2].value})
    assert (await replay(world.kpi, [world.subscription()], letter.id)).result == "waiting"
    async with world.kpi.transaction() as tx:
        assert (await tx.execute(text("SELECT count(*) FROM ledger"))).scalar_one() == 0


async def test_a_replay_needs_the_letter_and_its_subscription(world: World) -> None:
    await apply_messages(world.kpi, refusing(), changes(1, 1))
    (letter,) = await letters(world)
    for subscriptions, wanted in (([world.subscription()], uuid4()), ([], letter.id), ([refusing("other")], letter.id)):
        with pytest.raises(UnknownDeadLetter):
            await replay(world.kpi, subscriptions, wanted)


async def test_the_old_expire(world: World) -> None:
    await apply_messages(world.kpi, refusing(), changes(1, 1))
    await apply_messages(world.kpi, refusing(), changes(2, 1))
    async with world.kpi.transaction() as tx:
        await tx.execute(
            text("UPDATE dead_letter SET failed_at = failed_at - interval '31 days' WHERE stream = :s"),
            {"s": f"deal:{deal_id(1)}"},
        )
    assert await expire_dead_letters(world.kpi) == 1
    assert await expire_dead_letters(world.kpi, timedelta(days=1)) == 0
    assert [letter.stream for letter in await letters(world)] == [f"deal:{deal_id(2)}"]
