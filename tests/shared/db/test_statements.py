"""Statements that go to the driver: same transaction, same errors, same end of a connection as SQLAlchemy's own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from shared.db.engine import Database
from shared.db.errors import is_infrastructure, is_outcome_unknown, sqlstate
from shared.db.statements import Statement

INSERT = Statement("INSERT INTO deal SELECT * FROM unnest(CAST($1 AS int[]), CAST($2 AS jsonb[]))")
COUNT = Statement("SELECT count(*) FROM deal")
PID = Statement("SELECT pg_backend_pid()")
DIE = Statement("SELECT pg_terminate_backend(pg_backend_pid())")


@pytest.fixture
async def database(empty_database: Callable[[], str]) -> AsyncIterator[Database]:
    made = Database(empty_database(), "tested", pool_size=3)
    async with made.transaction() as tx:
        await tx.execute(text("CREATE TABLE deal (id int PRIMARY KEY, fields jsonb)"))
    yield made
    await made.close()


async def deals(database: Database) -> int:
    async with database.transaction() as tx:
        return int((await tx.execute(text("SELECT count(*) FROM deal"))).scalar_one())


async def insert_and_fail(database: Database) -> None:
    async with database.transaction() as tx:
        await INSERT.execute(tx, [3], ["{}"])
        1 / 0  # noqa: B018


async def test_what_begins_a_transaction_is_committed_and_rolled_back_with_it(database: Database) -> None:
    async with database.transaction() as tx:
        assert await INSERT.execute(tx, [1, 2], ["{}", "null"]) == 2
        assert await deals(database) == 0
    assert await deals(database) == 2
    with pytest.raises(ZeroDivisionError):
        await insert_and_fail(database)
    async with database.transaction() as tx:
        await INSERT.execute(tx, [4], ["{}"])
        await tx.rollback()
    assert await deals(database) == 2


async def test_both_ways_share_one_transaction(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute(text("INSERT INTO deal VALUES (1, '{\"a\": 1}')"))
        assert await COUNT.fetch(tx) == [(1,)]
        await INSERT.execute(tx, [2], ['{"b": 2}'])
        assert (await tx.execute(text("SELECT count(*) FROM deal"))).scalar_one() == 2
        rows = await Statement("SELECT id, fields FROM deal WHERE id > $1 ORDER BY id").fetch(tx, 0)
        assert [(row["id"], row["fields"]) for row in rows] == [(1, {"a": 1}), (2, {"b": 2})]
    assert await deals(database) == 2


async def test_in_autocommit_a_statement_commits_itself(database: Database) -> None:
    async with database.autocommit() as connection:
        await INSERT.execute(connection, [1], ["{}"])
        assert await deals(database) == 1


async def test_a_snapshot_begun_by_a_statement_is_one(database: Database) -> None:
    async with database.snapshot() as tx:
        assert await COUNT.fetch(tx) == [(0,)]
        async with database.transaction() as other:
            await INSERT.execute(other, [1], ["{}"])
        assert await COUNT.fetch(tx) == [(0,)]
        with pytest.raises(DBAPIError, match="read-only"):
            await INSERT.execute(tx, [2], ["{}"])


async def run(database: Database, statement: Statement, values: tuple[int, ...]) -> None:
    async with database.transaction() as tx:
        await statement.execute(tx, *values)
        await Statement("SELECT pg_sleep(60)").execute(tx)


@pytest.mark.parametrize(
    ("sql", "values", "state", "surroundings"),
    [
        ("INSERT INTO deal VALUES (1, NULL), (1, NULL)", (), "23505", False),
        ("SELECT 1 / (CAST($1 AS int) - 1)", (1,), "22012", False),
        ("SELECT CAST($1 AS int)", (2**40,), "22000", False),
        ("SELECT * FROM not_migrated_yet", (), "42P01", True),
        ("SELECT set_config('statement_timeout', '20', true), pg_sleep(0)", (), "57014", True),
    ],
)
async def test_errors_are_those_of_sqlalchemy(
    database: Database, sql: str, values: tuple[int, ...], state: str, surroundings: bool
) -> None:
    with pytest.raises(DBAPIError) as caught:
        await run(database, Statement(sql), values)
    assert sqlstate(caught.value) == state
    assert is_infrastructure(caught.value) is surroundings
    assert isinstance(caught.value, IntegrityError) is (state == "23505")
    assert not caught.value.connection_invalidated
    assert await deals(database) == 0


async def test_a_lost_connection_is_surroundings_and_makes_the_pool_begin_anew(database: Database) -> None:
    async with database.transaction() as first, database.transaction() as second:
        before = {*await PID.fetch(first), *await PID.fetch(second)}
    with pytest.raises(DBAPIError) as caught:
        async with database.transaction() as tx:
            await DIE.fetch(tx)
    assert caught.value.connection_invalidated
    assert is_infrastructure(caught.value)
    assert is_outcome_unknown(caught.value)
    async with database.transaction() as first, database.transaction() as second:
        assert before.isdisjoint({*await PID.fetch(first), *await PID.fetch(second)})


async def test_alone_it_is_a_transaction_of_its_own(database: Database) -> None:
    assert await INSERT.execute_alone(database, [1, 2], ["{}", "null"]) == 2
    assert await COUNT.fetch_alone(database) == [(2,)]
    with pytest.raises(IntegrityError) as caught:
        await INSERT.execute_alone(database, [3, 1], ["{}", "{}"])
    assert sqlstate(caught.value) == "23505"
    assert await COUNT.fetch_alone(database) == [(2,)]


async def test_alone_it_gives_its_connection_back_whatever_happens(database: Database) -> None:
    sleep = Statement("SELECT pg_sleep(60)")
    # More often than the pool has connections.
    for _ in range(8):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sleep.fetch_alone(database), 0.05)
        with pytest.raises(DBAPIError):
            await Statement("SELECT 1 / 0").fetch_alone(database)
    assert await COUNT.fetch_alone(database) == [(0,)]


async def test_alone_a_lost_connection_makes_the_pool_begin_anew(database: Database) -> None:
    async with database.transaction() as first, database.transaction() as second:
        before = {*await PID.fetch(first), *await PID.fetch(second)}
    with pytest.raises(DBAPIError) as caught:
        await DIE.fetch_alone(database)
    assert caught.value.connection_invalidated
    assert is_outcome_unknown(caught.value)
    async with database.transaction() as first, database.transaction() as second:
        assert before.isdisjoint({*await PID.fetch(first), *await PID.fetch(second)})


async def test_an_idle_connection_that_was_ended_costs_one_error_and_no_more(database: Database) -> None:
    async with database.transaction() as tx:
        ((pid,),) = await PID.fetch(tx)
    other = await database.connect_dedicated()
    await other.execute("SELECT pg_terminate_backend($1)", pid)
    await other.close()
    # The end of the socket may be seen before it is used, in which case there is no error at all.
    with suppress(DBAPIError):
        async with database.transaction() as tx:
            await COUNT.fetch(tx)
    async with database.transaction() as tx:
        assert await COUNT.fetch(tx) == [(0,)]


HOW_OFTEN = Statement(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
)


@pytest.mark.parametrize("way", ["fetch", "execute", "fetch_alone", "execute_alone"])
async def test_wherever_it_is_cancelled_no_transaction_stays_open_behind_it(
    empty_database: Callable[[], str], way: str
) -> None:
    """A connection that keeps one takes every later transaction for a savepoint: committed, and gone in the end."""
    url = empty_database()
    database, watching = Database(url, "tested", pool_size=1), Database(url, "watching")

    async def work() -> None:
        if way.endswith("_alone"):
            await getattr(PID, way)(database)
        else:
            async with database.transaction() as tx:
                await getattr(PID, way)(tx)

    await work()
    moment = 0
    ended = False
    while not ended:
        task = asyncio.create_task(work())
        for _ in range(moment):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
            ended = True
        assert await HOW_OFTEN.fetch_alone(watching) == [(0,)], f"cancelled after {moment} turns of the loop"
        moment += 1
    assert moment > 3
    await database.close()
    await watching.close()
