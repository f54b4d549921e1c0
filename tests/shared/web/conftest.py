"""A toy service with a database of its own."""

from collections.abc import AsyncIterator, Callable

import pytest
from fastapi import FastAPI

from shared.auth.development_issuer import DevelopmentIssuer
from shared.db.engine import Database
from shared.http_client import HttpClient
from tests.shared.web.toy import make_app, metadata


@pytest.fixture
async def database(empty_database: Callable[[], str]) -> AsyncIterator[Database]:
    opened = Database(empty_database(), "toy")
    async with opened.transaction() as tx:
        await tx.run_sync(metadata.create_all)
    yield opened
    await opened.close()


@pytest.fixture
def issuer() -> DevelopmentIssuer:
    return DevelopmentIssuer.create()


@pytest.fixture
def app(database: Database, issuer: DevelopmentIssuer) -> FastAPI:
    made: FastAPI = make_app(database, issuer)
    return made


@pytest.fixture
async def client(app: FastAPI, issuer: DevelopmentIssuer) -> AsyncIterator[HttpClient]:
    """A client with an admin's token."""
    opened = HttpClient(base_url="http://toy", app=app, headers={"authorization": f"Bearer {issuer.token('admin')}"})
    yield opened
    await opened.close()
