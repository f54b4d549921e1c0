"""Health, metrics, the access log and the OpenAPI documents."""

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from fastapi import FastAPI
from jsonschema import Draft202012Validator

from shared.auth.development_issuer import DevelopmentIssuer
from shared.clock import utc_now
from shared.db.engine import Database
from shared.http_client import HttpClient
from shared.logging import configure_logging
from shared.settings import Settings
from shared.web.app import create_app
from shared.web.health import start_draining
from shared.web.openapi import openapi_with_all
from tests.shared.web.test_problems import send
from tests.shared.web.toy import make_app


async def test_alive_and_ready(client: HttpClient, app: FastAPI) -> None:
    answer = await send(client, "GET", "/livez")
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok"})
    answer = await send(client, "GET", "/readyz")
    assert answer.status == 200
    assert {name: check["ok"] for name, check in json.loads(answer.body)["checks"].items()} == {
        "database": True, "migrations": True,
    }  # fmt: skip
    start_draining(app)
    answer = await send(client, "GET", "/readyz")
    assert (answer.status, json.loads(answer.body)["status"]) == (503, "draining")
    assert (await send(client, "GET", "/livez")).status == 200


async def test_not_ready_says_why(issuer: DevelopmentIssuer) -> None:
    async def behind() -> str | None:
        return "3 hours behind"

    async def explodes() -> str | None:
        raise ValueError("password=secret")

    nowhere = Database("postgresql+asyncpg://nobody@127.0.0.1:1/nothing", "toy")
    app = create_app(
        "toy", title="Toy", context=None, database=nowhere, verifier=issuer.verifier(), clock=utc_now,
        settings=Settings(), routers=[], readiness={"consumer": behind, "other": explodes},
    )  # fmt: skip
    client = HttpClient(base_url="http://toy", app=app)
    answer = await send(client, "GET", "/readyz")
    told = json.loads(answer.body)
    assert (answer.status, told["status"]) == (503, "not_ready")
    reasons = {name: check.get("reason") for name, check in told["checks"].items()}
    assert reasons == {
        "database": "ConnectionRefusedError", "migrations": None, "consumer": "3 hours behind", "other": "ValueError",
    }  # fmt: skip
    await client.close()


async def test_the_schema_at_head_is_part_of_being_ready(database: Database, issuer: DevelopmentIssuer) -> None:
    app = create_app(
        "pipeline", title="x", context=None, database=database, verifier=issuer.verifier(), clock=utc_now,
        settings=Settings(), routers=[],
    )  # fmt: skip
    client = HttpClient(base_url="http://toy", app=app)
    answer = await send(client, "GET", "/readyz")
    assert answer.status == 503
    assert json.loads(answer.body)["checks"]["migrations"]["ok"] is False
    await client.close()


async def test_metrics_name_the_template_and_no_id(client: HttpClient) -> None:
    await send(client, "GET", "/toy/v1/things/4711")
    await send(client, "POST", "/toy/v1/things/4711/moves", {"to_stage": "demo"})
    await send(client, "GET", "/toy/v1/4711/nowhere")
    await send(client, "GET", "/toy/v1/broken")
    answer = await send(client, "GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    text = answer.body.decode()
    counted = set(re.findall(r"http_server_request_duration_seconds_count\{(.*)\}", text))
    for method, route, status in (
        ("GET", "/toy/v1/things/{thing_id}", 404), ("POST", "/toy/v1/things/{thing_id}/moves", 201),
        ("GET", "unmatched", 404), ("GET", "/toy/v1/broken", 500),
    ):  # fmt: skip
        assert f'method="{method}",route="{route}",service="toy",status="{status}"' in counted
    # Names and labels only: a measured time may hold these digits by chance.
    assert not [line for line in text.splitlines() if "4711" in line.rsplit(" ", 1)[0]]
    assert 'db_pool_in_use{service="toy"}' in text


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    root, access = logging.getLogger(), logging.getLogger("access")
    before = (root.handlers, root.level, access.handlers, access.propagate)
    configured = structlog.get_config()
    yield
    root.handlers, root.level, access.handlers, access.propagate = before
    structlog.configure(**configured)


@pytest.mark.usefixtures("_logging_as_before")
@pytest.mark.parametrize("style", ["json", "console"])
async def test_one_access_line_for_a_request_and_none_for_a_probe(
    client: HttpClient, capsys: pytest.CaptureFixture[str], style: Any
) -> None:
    configure_logging("INFO", style)
    await send(client, "POST", "/toy/v1/things/7/moves", {"to_stage": "demo"}, x_request_id="r-1")
    await send(client, "GET", "/livez")
    [line] = [line for line in capsys.readouterr().err.splitlines() if "/moves" in line or "/livez" in line]
    if style == "console":
        assert "POST '/toy/v1/things/7/moves' 201" in line
        return
    told = json.loads(line)
    assert told["milliseconds"] >= 0
    assert (told["event"], told["method"], told["status"], told["principal"]) == ("request", "POST", 201, "admin")
    assert (told["correlation_id"], told["route"]) == ("r-1", "/toy/v1/things/{thing_id}/moves")
    assert told["timestamp"].endswith("Z")


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def references(part: Any) -> Iterator[str]:
    for value in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from references(value)
    if isinstance(part, dict) and isinstance(part.get("$ref"), str):
        yield part["$ref"]


def resolves(document: dict[str, Any], reference: str) -> bool:
    part: Any = document
    for name in reference.removeprefix("#/").split("/"):
        part = part.get(name, {})
    return bool(part)


async def test_the_document_is_whole(client: HttpClient) -> None:
    document = json.loads((await send(client, "GET", "/toy/openapi.json")).body)
    found = operations(document)
    assert document["openapi"].startswith("3.1")
    assert {"POST /toy/v1/things/{thing_id}/moves", "POST /toy/v1/stream-tickets", "GET /toy/v1/dead-letters"} <= set(
        found
    )
    identifiers = [operation["operationId"] for operation in found.values()]
    assert len(set(identifiers)) == len(identifiers)
    assert found["GET /toy/v1/things"]["operationId"] == "things_list_things"
    for operation in found.values():
        assert operation["tags"]
        assert operation["responses"]["default"] == {"$ref": "#/components/responses/Problem"}
        assert operation["security"] == [{"bearer": []}]
        assert "422" not in operation["responses"]
    assert all(resolves(document, reference) for reference in references(document))
    parameters = {one["name"] for one in found["POST /toy/v1/things"]["parameters"]}
    assert "Idempotency-Key" in parameters
    move = found["POST /toy/v1/things/{thing_id}/moves"]
    assert {one["name"] for one in move["parameters"]} == {"thing_id", "Idempotency-Key", "If-Match"}
    assert move["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/MoveBody"}
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


async def test_problems_look_as_documented(client: HttpClient, app: FastAPI) -> None:
    document = app.openapi()
    validator = Draft202012Validator(document["components"]["schemas"]["Problem"])
    for method, path in (("GET", "broken"), ("GET", "things?limit=x"), ("PUT", "things")):
        validator.validate(json.loads((await send(client, method, f"/toy/v1/{path}")).body))


async def test_one_document_for_all_services(database: Database, issuer: DevelopmentIssuer) -> None:
    first, second = make_app(database, issuer), make_app(database, issuer)
    changed = second.openapi()
    changed["paths"] = {path.replace("/toy/", "/other/"): methods for path, methods in changed["paths"].items()}
    changed["components"]["schemas"]["MoveBody"]["description"] = "Another one."
    merged = openapi_with_all({"toy": first, "other": second})
    identifiers = [operation["operationId"] for operation in operations(merged).values()]
    assert len(set(identifiers)) == len(identifiers) == 2 * len(operations(first.openapi()))
    schemas = merged["components"]["schemas"]
    assert {"ToyMoveBody", "MoveBody", "ThingAnswer", "Problem"} <= set(schemas)
    assert "OtherThingAnswer" not in schemas
    assert all(resolves(merged, reference) for reference in references(merged))
    assert "operationId" in first.openapi()["paths"]["/toy/v1/things"]["get"]
    assert first.openapi()["paths"]["/toy/v1/things"]["get"]["operationId"] == "things_list_things"
