"""Pipeline as a whole: its migrations, its documentation, its readiness, and what it listens to."""

import asyncio
from collections.abc import Callable

from alembic import command
from jsonschema import Draft202012Validator

from shared.db.migrations import configuration, downgrade, upgrade
from tests.services.pipeline.serving import Pipeline


async def test_the_migrations_make_the_tables_and_take_them_away(empty_database: Callable[[], str]):
    url = empty_database()
    for step in (upgrade, downgrade, upgrade):
        await step(url, "pipeline")
    await asyncio.to_thread(command.check, configuration(url, "pipeline"))


async def test_every_operation_is_documented_with_an_example_of_its_body(pipeline: Pipeline):
    document = pipeline.service.app.openapi()
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    ids = [operation["operationId"] for *_, operation in operations]
    assert len(ids) == len(set(ids))
    paths = {path for path, *_ in operations}
    assert {f"/pipeline/v1/deals/{{deal_id}}{rest}" for rest in ("", "/moves", "/moves/options", "/history")} <= paths
    for path, method, operation in operations:
        assert operation.get("summary"), (path, method)
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            assert content["example"], (path, method)
            whole = content["schema"] | {"components": document["components"]}
            if media_type == "application/json":
                Draft202012Validator(whole).validate(content["example"])
        if method in ("patch", "delete"):
            (if_match,) = [one for one in operation["parameters"] if one["name"] == "If-Match"]
            assert if_match["required"]
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", ()):
            Draft202012Validator(schema | {"components": document["components"]}).validate(example)
        if name.endswith("Patch"):
            assert not [part for part in schema["properties"].values() if "default" in part], name


async def test_readiness_waits_for_the_default_process(pipeline: Pipeline):
    assert (await pipeline.client.request("GET", "/readyz")).status == 200
    await pipeline.rows("DELETE FROM process_version RETURNING 1")
    assert (await pipeline.client.request("GET", "/readyz")).status == 503
    await pipeline.rows("DELETE FROM process RETURNING 1")
    await pipeline.run_job("default_process")
    assert (await pipeline.client.request("GET", "/readyz")).status == 200
