"""The write batcher: nothing lost, nothing twice, order per key, and every caller gets its own answer."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from shared.db.batcher import LARGEST_BATCH, Overloaded, WriteBatcher
from shared.db.engine import Database


@dataclass
class Store:
    """Applies commands `(key, number)`; tells what it saw."""

    pause: float = 0.0
    batches: list[list[tuple[int, int]]] = field(default_factory=list)
    in_flight: set[int] = field(default_factory=set)
    overlaps: int = 0
    applied: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(list))

    async def apply(self, commands: Sequence[tuple[int, int]]) -> Sequence[int | Exception]:
        keys = [key for key, _ in commands]
        self.overlaps += len(self.in_flight.intersection(keys)) + len(keys) - len(set(keys))
        self.in_flight.update(keys)
        self.batches.append(list(commands))
        await asyncio.sleep(self.pause)
        self.in_flight.difference_update(keys)
        for key, number in commands:
            self.applied[key].append(number)
        return [LookupError(number) if number % 7 == 6 else number * 10 for _, number in commands]


async def submit_all(batcher: WriteBatcher[tuple[int, int], int], keys: Sequence[int]) -> list[int | BaseException]:
    return await asyncio.gather(
        *(batcher.submit(key, (key, number)) for number, key in enumerate(keys)), return_exceptions=True
    )


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=300), st.integers(1, 4))
def test_each_command_once_in_order_of_its_key_with_its_own_answer(keys: list[int], writers: int) -> None:
    async def run() -> None:
        store = Store()
        async with WriteBatcher(store.apply, writers=writers) as batcher:
            answers = await submit_all(batcher, keys)
        for number, answer in enumerate(answers):
            if number % 7 == 6:
                assert isinstance(answer, LookupError)
                assert answer.args == (number,)
            else:
                assert answer == number * 10
        expected = defaultdict(list)
        for number, key in enumerate(keys):
            expected[key].append(number)
        assert store.applied == expected
        assert store.overlaps == 0
        assert max(map(len, store.batches)) <= LARGEST_BATCH

    asyncio.run(run())


async def test_what_waits_goes_together_and_nothing_waits_for_a_timer() -> None:
    store = Store(pause=0.05)
    async with WriteBatcher(store.apply, writers=1) as batcher:
        await submit_all(batcher, range(101))
    assert [len(batch) for batch in store.batches] == [1, 64, 36]


async def test_commands_behind_a_busy_key_do_not_hold_up_others() -> None:
    started, may_end = asyncio.Event(), asyncio.Event()

    async def apply(commands: Sequence[str]) -> Sequence[str]:
        if "slow" in commands:
            started.set()
            await may_end.wait()
        return commands

    batcher: WriteBatcher[str, str] = WriteBatcher(apply)
    slow = asyncio.create_task(batcher.submit("deal 1", "slow"))
    await started.wait()
    behind = asyncio.create_task(batcher.submit("deal 1", "behind"))
    assert await asyncio.wait_for(batcher.submit("deal 2", "other"), 5) == "other"
    assert not behind.done()
    may_end.set()
    assert await asyncio.gather(slow, behind) == ["slow", "behind"]


async def test_a_cancelled_caller_cancels_neither_its_batch_nor_its_neighbours() -> None:
    store = Store(pause=0.05)
    async with WriteBatcher(store.apply, writers=1) as batcher:
        callers = [asyncio.create_task(batcher.submit(key, (key, key))) for key in range(6)]
        await asyncio.sleep(0.01)
        callers[0].cancel()
        callers[3].cancel()
        answers = await asyncio.gather(*callers, return_exceptions=True)
    assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [
        True,
        False,
        False,
        True,
        False,
        False,
    ]
    assert sorted(store.applied) == [*range(6)]


async def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    store = Store(pause=0.05)
    async with WriteBatcher(store.apply, writers=1, largest_queue=10) as batcher:
        answers = await submit_all(batcher, range(30))
    refused = [answer for answer in answers if isinstance(answer, Overloaded)]
    assert len(refused) == 19
    assert refused[0].retry_after == 1
    assert sum(map(len, store.batches)) == 11


async def test_one_bad_command_fails_no_other() -> None:
    async def apply(commands: Sequence[int]) -> Sequence[int]:
        if 13 in commands:
            raise ValueError("13")
        return commands

    async with WriteBatcher(apply, writers=1) as batcher:
        answers = await asyncio.gather(*(batcher.submit(n, n) for n in range(20)), return_exceptions=True)
    assert [answer for answer in answers if not isinstance(answer, ValueError)] == [n for n in range(20) if n != 13]
    assert isinstance(answers[13], ValueError)


async def test_nobody_repeats_a_batch_that_may_have_been_committed() -> None:
    calls: list[int] = []

    async def apply(commands: Sequence[int]) -> Sequence[int]:
        calls.append(len(commands))
        raise ConnectionResetError

    async with WriteBatcher(apply, writers=1) as batcher:
        answers = await asyncio.gather(*(batcher.submit(n, n) for n in range(20)), return_exceptions=True)
    assert all(isinstance(answer, ConnectionResetError) for answer in answers)
    assert calls == [1, 19]


async def test_a_use_case_that_forgets_an_answer_is_a_fault_of_all_and_not_a_hang() -> None:
    async def apply(commands: Sequence[int]) -> Sequence[int]:
        return commands[1:]

    batcher: WriteBatcher[int, int] = WriteBatcher(apply, writers=1)
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*(batcher.submit(n, n) for n in range(5)), return_exceptions=True)
    assert all(isinstance(answer, ValueError) for answer in answers)


async def test_on_a_real_database_every_increment_counts(empty_database: Callable[[], str]) -> None:
    database = Database(empty_database(), "counts", pool_size=2)
    async with database.transaction() as tx:
        await tx.execute(text("CREATE TABLE counter (key int PRIMARY KEY, value int NOT NULL)"))
        await tx.execute(text("INSERT INTO counter SELECT n, 0 FROM generate_series(0, 9) AS n"))

    async def apply(keys: Sequence[int]) -> Sequence[int]:
        async with database.transaction() as tx:
            locked = text("SELECT key, value FROM counter WHERE key = ANY(:keys) ORDER BY key FOR UPDATE")
            rows = await tx.execute(locked, {"keys": list(keys)})
            values = {row.key: row.value + 1 for row in rows}
            write = text(
                "UPDATE counter AS c SET value = n.v FROM unnest(CAST(:k AS int[]), CAST(:v AS int[])) n (k, v) WHERE c.key = n.k"
            )
            await tx.execute(write, {"k": [*values], "v": [*values.values()]})
        return [values[key] for key in keys]

    chance = random.Random(1)
    async with WriteBatcher(apply) as batcher:
        keys = [chance.randrange(10) for _ in range(500)]
        answers = await asyncio.gather(*(batcher.submit(key, key) for key in keys))
    assert sorted(zip(keys, answers, strict=True)) == sorted(
        (key, count) for key in range(10) for count in range(1, keys.count(key) + 1)
    )
    await database.close()


@pytest.mark.parametrize("outcome", ["applied", "failed"])
async def test_drain_waits_for_everything(outcome: str) -> None:
    done: list[int] = []

    async def apply(commands: Sequence[int]) -> Sequence[int]:
        await asyncio.sleep(0.02)
        done.extend(commands)
        if outcome == "failed":
            raise ValueError
        return commands

    batcher: WriteBatcher[int, int] = WriteBatcher(apply)
    callers = [asyncio.create_task(batcher.submit(n % 3, n)) for n in range(9)]
    await asyncio.sleep(0)
    await batcher.drain()
    assert {*done} == {*range(9)}
    await asyncio.gather(*callers, return_exceptions=True)


async def test_what_comes_while_a_batch_is_in_flight_goes_together() -> None:
    batches: list[list[int]] = []
    free = asyncio.Event()

    async def apply(commands: Sequence[int]) -> Sequence[int | Exception]:
        batches.append(list(commands))
        if commands[0] == 0:
            await free.wait()
        return commands

    async with WriteBatcher(apply) as batcher:
        first = asyncio.create_task(batcher.submit(0, 0))
        await asyncio.sleep(0)
        others = [asyncio.create_task(batcher.submit(key, key)) for key in range(1, 5)]
        # Nobody frees the first one before: it is held up, and the others go on without it.
        assert await asyncio.gather(*others) == [1, 2, 3, 4]
        assert await batcher.submit(5, 5) == 5
        assert not first.done()
        free.set()
        assert await first == 0
    assert batches == [[0], [1, 2, 3, 4], [5]]
