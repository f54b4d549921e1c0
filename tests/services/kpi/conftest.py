"""A KPI service on a real database, and a log."""

from collections.abc import AsyncIterator, Callable

import pytest

from services.kpi.service import build
from services.kpi.settings import KpiSettings
from shared.auth.development_issuer import DevelopmentIssuer
from shared.bus.postgres import PostgresBus
from shared.db.engine import Database
from shared.http_client import HttpClient
from shared.runtime.service import Peers, Resources
from tests.services.kpi.harness import Clock, Kpi


@pytest.fixture
async def kpi(service_database: Callable[[str], str]) -> AsyncIterator[Kpi]:
    database = Database(service_database("kpi"), "kpi-test", pool_size=4)
    issuer, clock = DevelopmentIssuer.create(), Clock()
    nobody = HttpClient(base_url="http://nobody.invalid")
    resources = Resources(database, Peers(nobody, nobody, nobody, nobody), nobody, issuer.verifier(), clock)
    service = build(KpiSettings(), resources)
    client = HttpClient(base_url="http://kpi", app=service.app)
    yield Kpi(service, database, client, issuer, clock)
    await client.close()
    await nobody.close()
    await database.close()


@pytest.fixture
async def bus(empty_database: Callable[[], str]) -> AsyncIterator[PostgresBus]:
    made = PostgresBus(Database(empty_database(), "bus-test", pool_size=4))
    await made.prepare()
    yield made
    await made.close()
