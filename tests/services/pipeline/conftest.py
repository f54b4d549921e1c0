"""A running pipeline service on a real database."""

from collections.abc import AsyncIterator, Callable

import pytest

from services.pipeline.service import build
from services.pipeline.settings import PipelineSettings
from shared.auth.development_issuer import DevelopmentIssuer
from shared.db.engine import Database
from shared.http_client import HttpClient
from shared.runtime.service import Peers, Resources
from tests.services.pipeline.serving import Clock, Pipeline


@pytest.fixture
async def pipeline(service_database: Callable[[str], str]) -> AsyncIterator[Pipeline]:
    """Pipeline with its default process and nothing else; loops and jobs are run by the tests."""
    database = Database(service_database("pipeline"), "pipeline-test", pool_size=4)
    issuer, clock = DevelopmentIssuer.create(), Clock()
    outside = HttpClient()
    peers = Peers(outside, outside, outside, outside)
    resources = Resources(database, peers, outside, issuer.verifier(), clock)
    service = build(PipelineSettings(), resources)
    client = HttpClient(base_url="http://pipeline", app=service.app)
    made = Pipeline(service, database, client, issuer, clock)
    await made.run_job("default_process")
    await made.sent()
    yield made
    await client.close()
    await outside.close()
    await database.close()


@pytest.fixture
async def field_sales(pipeline: Pipeline) -> Pipeline:
    """Pipeline with the small process of `building` and its people."""
    await pipeline.publish()
    await pipeline.tell_people()
    await pipeline.sent()
    return pipeline
