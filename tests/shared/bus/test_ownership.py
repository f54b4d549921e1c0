"""Who works on what: fair shares, take-over, and the end of a work whose lock is gone."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import text

from shared.bus.ownership import Ownership
from shared.db.engine import Database
from shared.db.session_locks import LocksLost, SessionLocks
from tests.faults.toy import until

NAMES = [f"deals/{part}" for part in range(4)]


@pytest.fixture
async def database(empty_database: Callable[[], str]) -> AsyncIterator[Database]:
    made = Database(empty_database(), "owners")
    yield made
    await made.close()


@pytest.fixture
async def member(database: Database) -> AsyncIterator[Callable[..., Ownership]]:
    made: list[Ownership] = []

    def make(family: str = "group", names: list[str] | None = None) -> Ownership:
        made.append(Ownership(database, family, NAMES if names is None else names))
        return made[-1]

    yield make
    for one in made:
        await one.close()


async def end_sessions(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'owners-dedicated'")
        )


async def shares(*members: Ownership) -> list[int]:
    """Let everybody look twice, as time would."""
    for _ in range(2):
        for one in members:
            await one.refresh(now=True)
    owned = [one.owned for one in members]
    assert sum(map(len, owned)) == len(frozenset().union(*owned))
    return [len(one) for one in owned]


async def test_members_share_fairly_and_nothing_is_owned_twice(member: Callable[..., Ownership]) -> None:
    first, second, third = member(), member(), member()
    assert await shares(first) == [4]
    assert await shares(first, second) == [2, 2]
    assert sum(await shares(first, second, third)) == 4
    assert max(await shares(first, second, third)) == 2
    await first.close()
    assert await shares(second, third) == [2, 2]
    await second.close()
    assert await shares(third) == [4]


async def test_groups_do_not_disturb_each_other(member: Callable[..., Ownership]) -> None:
    assert await shares(member("kpi")) == [4]
    assert await shares(member("notify")) == [4]


async def test_a_lost_session_is_told_at_once_and_taken_again(
    database: Database, member: Callable[..., Ownership]
) -> None:
    owner = member()
    assert await shares(owner) == [4]
    await end_sessions(database)
    with pytest.raises(LocksLost):
        await owner.refresh(now=True)
    assert owner.owned == frozenset()
    assert await owner.refresh() == frozenset(NAMES)


@pytest.mark.slow
async def test_a_frozen_owner_loses_what_it_owns(database: Database, member: Callable[..., Ownership]) -> None:
    """Its socket stays open, as with SIGSTOP: only that nobody asked for six seconds gives it away."""
    frozen = await SessionLocks.join(database, "group")
    assert await frozen.take("group/deals/0")
    heir = member(names=NAMES[:1])
    assert await heir.refresh(now=True) == frozenset()
    started = time.monotonic()
    while not await heir.refresh(now=True):
        await asyncio.sleep(0.2)
        assert time.monotonic() - started < 9
    assert time.monotonic() - started > 4
    with pytest.raises(LocksLost):
        await frozen.look([])


async def test_one_piece_of_work_stays_with_its_owner(member: Callable[..., Ownership]) -> None:
    members = [member("relay", []) for _ in range(4)]
    assert await shares(*members) == [1, 0, 0, 0]
    assert await shares(*reversed(members)) == [0, 0, 0, 1]


async def test_exclusive_work_moves_on_when_its_owner_is_gone(
    database: Database, member: Callable[..., Ownership]
) -> None:
    at_work: list[str] = []
    most = 0

    def work(name: str):
        async def run() -> None:
            nonlocal most
            at_work.append(name)
            most = max(most, len(at_work))
            try:
                await asyncio.sleep(3600)
            finally:
                at_work.remove(name)

        return run

    first, second = member("loop", []), member("loop", [])
    tasks = [asyncio.create_task(first.run_exclusively(work("first")))]
    await until(lambda: at_work == ["first"])
    tasks.append(asyncio.create_task(second.run_exclusively(work("second"))))
    await asyncio.sleep(0.3)
    tasks[0].cancel()
    await until(lambda: at_work == ["second"])
    await end_sessions(database)
    await until(lambda: at_work == [])
    await until(lambda: at_work == ["second"])
    tasks[1].cancel()
    await asyncio.wait(tasks)
    assert most == 1


async def test_exclusive_work_ends_as_the_work_does(member: Callable[..., Ownership]) -> None:
    async def fails() -> None:
        raise LookupError

    async def ends() -> None:
        return

    with pytest.raises(LookupError):
        await member("loop", []).run_exclusively(fails)
    await asyncio.wait_for(member("loop", []).run_exclusively(ends), 5)
