"""The fixtures that every test on PostgreSQL stands on."""

from collections.abc import Callable

import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool


async def test_every_empty_database_is_another_one_and_empty(empty_database: Callable[[], str]) -> None:
    first, second = empty_database(), empty_database()
    for url in (first, second):
        engine = create_async_engine(url, poolclass=NullPool)
        async with engine.begin() as connection:
            await connection.execute(sqlalchemy.text("CREATE TABLE deal (id int)"))
            assert (await connection.execute(sqlalchemy.text("SELECT count(*) FROM deal"))).scalar_one() == 0
    assert first != second
