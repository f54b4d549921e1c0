"""Die at every named place around commit, send and acknowledgement, the first, second and last time it is come to."""

from collections.abc import Sequence
from typing import NoReturn

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.bus.dead_letters import list_dead_letters, replay
from shared.bus.subscription import Delivery
from shared.db.faultpoints import Crashed, armed, counted, crash
from tests.faults.scenario import play
from tests.faults.toy import GROUP, World, deal_id, fold, settle

# How often one undisturbed course comes to each place.
POINTS = {
    "pipeline.commit": 30,
    "pipeline.committed": 30,
    "relay.read": 10,
    "bus.append": 10,
    "bus.appended": 10,
    "relay.sent": 10,
    "relay.deleted": 10,
    "consumer.taken_over": 1,
    "consumer.fetched": 6,
    "consumer.applied": 6,
    "consumer.commit": 6,
    "consumer.committed": 6,
}
STRIKES = [(point, hit) for point, times in POINTS.items() for hit in sorted({1, 2, times}) if hit <= times]
COMMITS = [
    f"{place}:{hit}"
    for place in ("pipeline.commit", "pipeline.committed", "bus.append", "bus.appended", "kpi.commit", "kpi.committed")
    for hit in (1, 2, 6)
]


async def test_every_place_is_struck(world: World) -> None:
    with counted() as reached:
        assert await play(world) == 0
    assert await world.broken() == set()
    # The consumer's own places stand for those of its database, which its upkeep comes to as well.
    assert {name: times for name, times in reached.items() if not name.startswith("kpi.")} == POINTS


@pytest.mark.parametrize(("point", "hit"), STRIKES)
async def test_death_loses_and_doubles_nothing(world: World, point: str, hit: int) -> None:
    with armed(point, hit, crash):
        assert await play(world) == 1
    assert await world.broken() == set()


def reset_connection() -> NoReturn:
    raise ConnectionResetError


@pytest.mark.parametrize("commit", COMMITS)
async def test_the_connection_breaks_around_a_commit(world: World, commit: str) -> None:
    """Nobody knows then whether it was committed (F11); asking again must be safe in both cases."""
    place, hit = commit.split(":")
    with armed(place, int(hit), reset_connection):
        assert await play(world) == 1
    assert await world.broken() == set()


INDIGESTIBLE = 13
BURIALS = [f"{place}:{hit}" for place in ("kpi.commit", "kpi.committed") for hit in range(1, 7)]


async def indigestible(tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
    await fold(tx, deliveries)
    if any(delivery.event.deal.amount == INDIGESTIBLE for delivery in deliveries):
        message = "not that one"
        raise ValueError(message)


@pytest.mark.parametrize("commit", BURIALS)
async def test_death_around_a_dead_letter_loses_neither_it_nor_its_place(world: World, commit: str) -> None:
    """F15 with F5: the letter and the position behind its event are one commit."""
    for amount in (1, INDIGESTIBLE, 3, 4):
        await world.change(1, amount)
    place, hit = commit.split(":")
    relay, subscription = world.relay(), world.subscription(indigestible)
    first = world.consumer(subscription=subscription)
    with armed(place, int(hit), crash), pytest.raises(Crashed):
        await settle(relay, first)
    await first.close()
    await settle(relay, world.consumer(subscription=subscription))
    async with world.kpi.transaction() as tx:
        (letter,) = await list_dead_letters(tx, GROUP, 10)
    assert (letter.stream, letter.version) == (f"deal:{deal_id(1)}", 2)
    assert (await replay(world.kpi, [world.subscription()], letter.id)).result == "applied"
    assert await world.broken() == set()
