"""Who is let in over HTTP besides people: the other services and machines; and readiness while nobody can be."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs

from shared.auth.api_keys import hash_of, key_text
from shared.auth.development_issuer import DevelopmentIssuer
from shared.auth.directory_updates import apply_api_keys
from shared.auth.issuer_keys import IssuerKeys
from shared.auth.tokens import TokenVerifier
from shared.clock import utc_now
from shared.db.engine import Database
from shared.events.goals import ApiKeyChanged
from shared.http_client import HttpClient
from shared.ids import new_id
from shared.settings import Settings
from shared.web.app import create_app
from tests.shared.auth.issuer import AUDIENCE, Issuer, issuing
from tests.shared.auth.test_api_keys import Told
from tests.shared.web.toy import make_app

TOKEN = "a-shared-secret-of-more-than-32-characters"


@pytest.fixture
async def client(database: Database, issuer: DevelopmentIssuer) -> AsyncIterator[HttpClient]:
    opened = HttpClient(base_url="http://toy", app=make_app(database, issuer, service_token=TOKEN))
    yield opened
    await opened.close()


async def asked(client: HttpClient, token: str, method: str = "GET", path: str = "/toy/v1/things") -> tuple[int, str]:
    answer = await client.request(method, path, headers={"authorization": f"Bearer {token}"})
    return answer.status, json.loads(answer.body).get("code", "") if answer.status >= 400 else ""


async def known_key(database: Database, *scopes: str, role: str = "admin") -> str:
    secret = "s" * 43
    event = ApiKeyChanged(
        version=1, recorded_at=utc_now(), key_id=new_id(), hash=hash_of(secret), role=role, scopes=scopes  # type: ignore[arg-type]
    )  # fmt: skip
    async with database.transaction() as tx:
        await apply_api_keys(tx, [Told(event)])
    return key_text(event.key_id, secret)


async def test_a_service_is_let_in_as_an_admin_and_its_token_is_told_to_nobody(client: HttpClient) -> None:
    with capture_logs() as logs:
        assert await asked(client, TOKEN, path="/toy/v1/exports/toy.things.v1") == (200, "")
        assert await asked(client, TOKEN[:-1] + "x", path="/toy/v1/exports/toy.things.v1") == (401, "token_invalid")
    assert [entry["event"] for entry in logs] == ["token_refused"]
    assert TOKEN[:-1] not in repr(logs)


async def test_a_key_on_plain_and_hot_routes(client: HttpClient, database: Database) -> None:
    reader, writer = await known_key(database, "toy:read"), await known_key(database, "toy:write")
    other = await known_key(database, "other:write")
    assert await asked(client, reader, path="/toy/v1/things") == (200, "")
    assert await asked(client, writer, path="/toy/v1/things") == (200, "")
    assert await asked(client, other, path="/toy/v1/things") == (403, "insufficient_scope")
    assert (await client.request("HEAD", "/toy/v1/things", headers={"authorization": f"Bearer {reader}"})).status == 200
    hot = "/toy/v1/things/01900000-0000-7000-8000-000000000001/moves"
    for token, status in ((reader, 403), (other, 403), (writer, 201)):
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        answer = await client.request("POST", hot, headers=headers, body=b'{"to_stage": "demo"}')
        assert answer.status == status, answer.body
        if status == 403:
            problem = json.loads(answer.body)
            assert (problem["code"], problem["scope"]) == ("insufficient_scope", "toy:write")
            assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="toy:write"'


async def test_a_refused_key_is_not_logged(client: HttpClient, database: Database) -> None:
    key = await known_key(database, "toy:read")
    with capture_logs() as logs:
        assert await asked(client, key[:-1] + "x") == (401, "token_invalid")
        assert await asked(client, "sg_nonsense") == (401, "token_invalid")
    assert len(logs) == 2
    assert "s" * 20 not in repr(logs)


async def test_readiness_waits_for_the_issuer(database: Database) -> None:
    async with issuing() as serving:
        http = HttpClient()
        now = utc_now()
        keys = IssuerKeys(http, serving.url, clock=lambda: now)
        app = _app_trusting(keys, serving, database)
        client = HttpClient(base_url="http://toy", app=app)
        serving.status = 503
        answer = await client.request("GET", "/readyz")
        check = json.loads(answer.body)["checks"]["auth"]
        assert answer.status == 503
        assert not check["ok"]
        assert serving.url in check["reason"]
        token = serving.token(utc_now())
        assert await asked(client, token, path="/toy/v1/dead-letters") == (401, "token_invalid")
        serving.status = 200
        now += timedelta(seconds=2)
        answer = await client.request("GET", "/readyz")
        assert (answer.status, json.loads(answer.body)["checks"]["auth"]["ok"]) == (200, True)
        assert await asked(client, token, path="/toy/v1/dead-letters") == (200, "")
        await client.close()
        await http.close()


def _app_trusting(keys: IssuerKeys, issuer: Issuer, database: Database) -> FastAPI:
    return create_app(
        "toy", title="Toy", context=None, database=database, verifier=TokenVerifier(keys, issuer.url, AUDIENCE),
        clock=utc_now, settings=Settings(), routers=[],
    )  # fmt: skip
