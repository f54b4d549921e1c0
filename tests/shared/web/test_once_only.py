import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import text

from shared.auth.development_issuer import DevelopmentIssuer
from shared.clock import utc_now
from shared.db.engine import Database
from shared.http_client import Answer, HttpClient
from shared.web.idempotency import StoredKey, StoredReply, find_replies, forget_old_keys, replayed, store_replies
from shared.web.problems import Problem
from tests.shared.web.test_problems import problem, send


@pytest.fixture
async def rep(app: FastAPI, issuer: DevelopmentIssuer) -> AsyncIterator[HttpClient]:
    opened = HttpClient(base_url="http://toy", app=app, headers={"authorization": f"Bearer {issuer.token('rep')}"})
    yield opened
    await opened.close()


async def create(client: HttpClient, key: str, **body: Any) -> Answer:
    return await send(client, "POST", "/toy/v1/things", {"name": "x", **body}, idempotency_key=key)


async def count(database: Database, table: str = "thing") -> int:
    async with database.transaction() as tx:
        found: int = (await tx.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()
        return found


async def test_a_repeat_gets_the_same_reply_and_changes_nothing(client: HttpClient, database: Database) -> None:
    first, again = await create(client, "k1"), await create(client, "k1")
    assert (first.status, again.status) == (201, 201)
    assert first.body == again.body
    for name in ("location", "etag", "content-type"):
        assert first.headers[name] == again.headers[name]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert await count(database) == 1
    assert json.loads((await create(client, "k2")).body)["id"] == 2
    assert json.loads((await send(client, "POST", "/toy/v1/things", {"name": "x"})).body)["id"] == 3


async def test_another_request_with_the_key_is_refused(client: HttpClient, database: Database) -> None:
    await create(client, "k1")
    problem(await create(client, "k1", note="other"), 422, "idempotency_key_reused")
    answer = await client.request(
        "POST", "/toy/v1/things", body=b'{ "name": "x"}',
        headers={"content-type": "application/json", "idempotency-key": "k1"},
    )  # fmt: skip
    problem(answer, 422, "idempotency_key_reused")
    assert await count(database) == 1


async def test_a_key_belongs_to_its_principal(client: HttpClient, rep: HttpClient, database: Database) -> None:
    assert (await create(client, "k1")).status == (await create(rep, "k1")).status == 201
    assert await count(database) == 2


async def test_failures_are_not_stored(client: HttpClient, database: Database) -> None:
    problem(await create(client, "k1", note="fail"), 404, "not_found")
    problem(await create(client, "k1", count="x"), 422, "validation_failed")
    assert (await count(database), await count(database, "idempotency_key")) == (0, 0)
    assert (await create(client, "k1")).status == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "with space", "tab\t"])
async def test_unusable_keys_are_refused(client: HttpClient, key: str) -> None:
    told = problem(await create(client, key), 422, "validation_failed")
    assert told["errors"][0]["header"] == "Idempotency-Key"


async def test_while_the_first_runs_a_repeat_is_told_so(client: HttpClient, database: Database) -> None:
    answers = await asyncio.gather(*(create(client, "k1", note="slow") for _ in range(4)))
    assert sorted(answer.status for answer in answers) == [201, 409, 409, 409]
    assert {json.loads(answer.body).get("code") for answer in answers} == {None, "idempotency_in_progress"}
    assert await count(database) == 1
    assert (await create(client, "k1", note="slow")).headers["idempotency-replayed"] == "true"


def form(content: bytes, kind: str, boundary: str) -> dict[str, Any]:
    lines = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="kind"\r\n\r\n{kind}\r\n'.encode(),
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'.encode(),
        content + f"\r\n--{boundary}--\r\n".encode(),
    ]
    return {
        "body": b"".join(lines),
        "headers": {"content-type": f"multipart/form-data; boundary={boundary}", "idempotency-key": "u1"},
    }


async def test_forms_are_told_apart_by_their_parts(client: HttpClient) -> None:
    first = await client.request("POST", "/toy/v1/uploads", **form(b"a,b", "deals", "one"))
    assert json.loads(first.body) == {"kind": "deals", "bytes": 3}
    again = await client.request("POST", "/toy/v1/uploads", **form(b"a,b", "deals", "two"))
    assert again.headers["idempotency-replayed"] == "true"
    for other in (form(b"a,c", "deals", "one"), form(b"a,b", "tasks", "one")):
        problem(await client.request("POST", "/toy/v1/uploads", **other), 422, "idempotency_key_reused")


async def test_hot_paths_store_and_find_in_sets(database: Database) -> None:
    keys = [StoredKey("scope", f"k{number}", bytes([number])) for number in range(3)]
    async with database.transaction() as tx:
        await store_replies(tx, [(key, 201, {"etag": '"1"'}, b"{}") for key in keys[:2]])
    async with database.transaction() as tx:
        found = await find_replies(tx, keys)
        assert await find_replies(tx, []) == {}
    assert found == {key: StoredReply(key.request_hash, 201, {"etag": '"1"'}, b"{}") for key in keys[:2]}
    response = replayed(keys[0], found[keys[0]])
    assert (response.status_code, response.headers["idempotency-replayed"]) == (201, "true")
    with pytest.raises(Problem, match="idempotency_key_reused"):
        replayed(StoredKey("scope", "k0", b"other"), found[keys[0]])


async def test_old_keys_are_forgotten(client: HttpClient, database: Database) -> None:
    await create(client, "k1")
    async with database.transaction() as tx:
        assert await forget_old_keys(tx, utc_now() + timedelta(hours=47)) == 0
        assert await forget_old_keys(tx, utc_now() + timedelta(hours=49)) == 1
    assert (await create(client, "k1")).headers.get("idempotency-replayed") is None
