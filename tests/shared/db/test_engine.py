"""Transactions that end as they should, and errors that are told apart."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from shared.db.engine import Database, Signal
from shared.db.errors import is_infrastructure, is_outcome_unknown, sqlstate


@pytest.fixture
async def database(empty_database: Callable[[], str]) -> AsyncIterator[Database]:
    made = Database(empty_database(), "tested")
    async with made.transaction() as tx:
        await tx.execute(text("CREATE TABLE deal (id int PRIMARY KEY, amount int NOT NULL CHECK (amount >= 0))"))
        await tx.execute(text("INSERT INTO deal VALUES (1, 100)"))
    yield made
    await made.close()


async def fails(database: Database, *statements: str) -> BaseException:
    """Return the error of the last of `statements`, in one transaction."""
    try:
        async with database.transaction() as tx:
            for statement in statements:
                await tx.execute(text(statement))
    except (DBAPIError, OSError) as error:
        return error
    pytest.fail("no error")


@pytest.mark.parametrize(
    ("statements", "state"),
    [
        (["SELECT pg_terminate_backend(pg_backend_pid())"], None),
        (["SET LOCAL statement_timeout = 20", "SELECT pg_sleep(2)"], "57014"),
        (["SELECT * FROM not_migrated_yet"], "42P01"),
        (["SELECT not_yet FROM deal"], "42703"),
    ],
)
async def test_the_surroundings_are_to_blame(database: Database, statements: Sequence[str], state: str | None) -> None:
    error = await fails(database, *statements)
    assert is_infrastructure(error)
    assert state is None or sqlstate(error) == state


@pytest.mark.parametrize(
    ("statement", "state"),
    [
        ("INSERT INTO deal VALUES (1, 5)", "23505"),
        ("INSERT INTO deal VALUES (2, -5)", "23514"),
        ("SELECT 1 / (amount - 100) FROM deal", "22012"),
        ("SELECT 'x'::int", "22P02"),
    ],
)
async def test_the_data_is_to_blame(database: Database, statement: str, state: str) -> None:
    error = await fails(database, statement)
    assert sqlstate(error) == state
    assert not is_infrastructure(error)
    assert not is_outcome_unknown(error)


async def test_a_value_that_the_driver_refuses_is_a_fault_of_the_data(database: Database) -> None:
    with pytest.raises(DBAPIError) as caught:
        async with database.transaction() as tx:
            await tx.execute(text("SELECT CAST(:n AS int)"), {"n": 2**40})
    assert not is_infrastructure(caught.value)


async def test_a_deadlock_is_known_to_be_rolled_back_and_a_lost_connection_is_not(database: Database) -> None:
    async with database.transaction() as holder:
        await holder.execute(text("LOCK TABLE deal"))
        error = await fails(database, "SET LOCAL lock_timeout = 20", "LOCK TABLE deal")
    assert sqlstate(error) == "55P03"
    assert is_infrastructure(error)
    assert not is_outcome_unknown(error)
    assert is_outcome_unknown(await fails(database, "SELECT pg_terminate_backend(pg_backend_pid())"))
    assert is_outcome_unknown(ConnectionResetError())


async def test_an_empty_pool_and_a_server_that_is_not_there_are_surroundings(database: Database) -> None:
    nowhere = Database("postgresql+asyncpg://nobody@127.0.0.1:1/nothing", "lost")
    with pytest.raises(OSError) as refused:  # noqa: PT011 - which one depends on the system
        async with nowhere.transaction():
            pass
    assert is_infrastructure(refused.value)
    assert not is_infrastructure(ValueError("an event"))
    assert not is_infrastructure(asyncio.CancelledError())
    await nowhere.close()


async def test_a_cancellation_is_never_hidden_by_a_connection_that_is_gone(database: Database) -> None:
    inside = asyncio.Event()

    async def work() -> None:
        async with database.transaction() as tx:
            pid = (await tx.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            async with database.transaction() as other:
                await other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            await asyncio.sleep(0.1)
            inside.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with database.transaction() as tx:
        assert (await tx.execute(text("SELECT 1"))).scalar_one() == 1


async def test_a_snapshot_sees_one_instant_and_writes_nothing(database: Database) -> None:
    async with database.snapshot() as tx:
        assert (await tx.execute(text("SELECT count(*) FROM deal"))).scalar_one() == 1
        async with database.transaction() as other:
            await other.execute(text("INSERT INTO deal VALUES (2, 7)"))
        assert (await tx.execute(text("SELECT count(*) FROM deal"))).scalar_one() == 1
        with pytest.raises(DBAPIError, match="read-only"):
            await tx.execute(text("INSERT INTO deal VALUES (3, 7)"))


async def test_connections_come_back_to_the_pool_as_they_were(database: Database) -> None:
    """An autocommit connection or a snapshot must not leave its mode behind."""
    for _ in range(3):
        async with database.autocommit() as connection:
            await connection.execute(text("UPDATE deal SET amount = amount + 1"))
        async with database.snapshot() as tx:
            assert (await tx.execute(text("SHOW transaction_isolation"))).scalar_one() == "repeatable read"
        async with database.transaction() as tx:
            assert (await tx.execute(text("SHOW transaction_isolation"))).scalar_one() == "read committed"
            assert (await tx.execute(text("SHOW transaction_read_only"))).scalar_one() == "off"
            await tx.execute(text("UPDATE deal SET amount = 0"))
            await tx.rollback()
    async with database.transaction() as tx:
        assert (await tx.execute(text("SELECT amount FROM deal"))).scalar_one() == 103


async def test_a_signal_set_twice_wakes_once() -> None:
    signal = Signal()
    signal.set()
    signal.set()
    assert await signal.wait(0.01)
    assert not await signal.wait(0.01)
    waiting = asyncio.create_task(signal.wait(5))
    await asyncio.sleep(0)
    signal.set()
    assert await waiting


async def test_an_error_does_not_tell_the_values_of_its_statement(database: Database) -> None:
    """It is logged, and kept with dead letters: the values may be secrets, or personal."""
    with pytest.raises(DBAPIError) as caught:
        async with database.transaction() as tx:
            await tx.execute(text("SELECT CAST(:secret AS text), 1 / 0"), {"secret": "whsec_of_somebody"})
    assert "whsec_of_somebody" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [asyncpg.InvalidPasswordError(), asyncpg.InvalidAuthorizationSpecificationError(), asyncpg.DataCorruptedError()],
)
def test_who_may_not_connect_and_who_reads_damage_is_no_fault_of_an_event(error: asyncpg.PostgresError) -> None:
    assert is_infrastructure(error)
