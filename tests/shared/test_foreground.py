"""Who waits for an answer goes first."""

import asyncio

import pytest

from shared.foreground import Foreground

# More turns than giving way takes where nobody waits.
MANY_TURNS = 10


async def order(foreground: Foreground) -> list[str]:
    """What ends first: giving way, or many turns of the loop."""
    ended: list[str] = []

    async def give_way() -> None:
        await foreground.give_way()
        ended.append("work")

    async def turn() -> None:
        for _ in range(MANY_TURNS):
            await asyncio.sleep(0)
        ended.append("turns")

    await asyncio.gather(give_way(), turn())
    return ended


async def test_work_pauses_only_while_a_request_is_in_flight():
    foreground = Foreground()
    assert await order(foreground) == ["work", "turns"]
    with foreground.request():
        with foreground.request():
            pass
        assert await order(foreground) == ["turns", "work"]
    assert await order(foreground) == ["work", "turns"]


async def test_a_request_that_fails_is_not_in_flight_any_more():
    foreground = Foreground()
    with pytest.raises(ValueError, match="refused"), foreground.request():
        raise ValueError("refused")
    assert await order(foreground) == ["work", "turns"]


async def test_a_request_that_has_just_come_in_is_seen():
    foreground = Foreground()
    answered = asyncio.Event()

    async def request() -> None:
        with foreground.request():
            await answered.wait()

    coming = asyncio.create_task(request())
    assert await order(foreground) == ["turns", "work"]
    answered.set()
    await coming
