"""Conditions, pages and exports."""

import base64
import json

import pytest
from fastapi import FastAPI

from shared.auth.development_issuer import DevelopmentIssuer
from shared.db.engine import Database
from shared.http_client import HttpClient
from shared.web.pagination import Cursors
from shared.web.problems import Problem
from tests.shared.web.test_problems import problem, send
from tests.shared.web.toy import TOPIC, make_app


async def things(client: HttpClient, number: int) -> None:
    for index in range(number):
        assert (await send(client, "POST", "/toy/v1/things", {"name": f"t{index}"})).status == 201


async def test_changes_name_the_version_they_change(client: HttpClient) -> None:
    await things(client, 1)
    path = "/toy/v1/things/1"
    problem(await send(client, "PATCH", path, {"name": "y"}), 428, "precondition_required")
    for stale in ('"2"', 'W/"1"', "1", '"1', "nonsense", ""):
        problem(await send(client, "PATCH", path, {"name": "y"}, if_match=stale), 412, "precondition_failed")
    answer = await send(client, "PATCH", path, {"name": "y"}, if_match='"9", "1"')
    assert (answer.status, answer.headers["etag"]) == (200, '"2"')
    answer = await send(client, "PATCH", path, {"name": "z"}, if_match="*")
    assert answer.headers["etag"] == '"3"'


async def test_unchanged_things_are_not_sent_again(client: HttpClient) -> None:
    await things(client, 1)
    answer = await send(client, "GET", "/toy/v1/things/1")
    for told in (answer.headers["etag"], 'W/"1"', '"0", "1"', "*"):
        again = await send(client, "GET", "/toy/v1/things/1", if_none_match=told)
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", '"1"')
    assert (await send(client, "GET", "/toy/v1/things/1", if_none_match='"0"')).status == 200


async def test_pages_follow_each_other_by_link(client: HttpClient) -> None:
    await things(client, 7)
    path: str | None = "/toy/v1/things?limit=3"
    pages = []
    while path:
        answer = await send(client, "GET", path)
        page = json.loads(answer.body)
        pages.append([item["id"] for item in page["items"]])
        link = answer.headers.get("link")
        assert (link is None) == (page["next_cursor"] is None)
        path = link.split(">")[0].removeprefix("<") if link else None
        assert link is None or link.endswith('; rel="next"')
    assert pages == [[1, 2, 3], [4, 5, 6], [7]]


async def test_a_cursor_is_good_for_its_own_list_only(client: HttpClient) -> None:
    await things(client, 3)
    page = json.loads((await send(client, "GET", "/toy/v1/things?limit=1&kind=a")).body)
    cursor = page["next_cursor"]
    answer = await send(client, "GET", f"/toy/v1/things?limit=2&kind=a&cursor={cursor}")
    assert [item["id"] for item in json.loads(answer.body)["items"]] == [2, 3]
    problem(await send(client, "GET", f"/toy/v1/things?cursor={cursor}"), 400, "cursor_mismatch")
    problem(await send(client, "GET", f"/toy/v1/things?kind=b&cursor={cursor}"), 400, "cursor_mismatch")
    problem(await send(client, "GET", f"/toy/v1/exports/{TOPIC}?cursor={cursor}"), 400, "cursor_mismatch")
    raw = bytearray(base64.urlsafe_b64decode(cursor + "=="))
    raw[-3] ^= 1
    forged = base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("=")
    for bad in (forged, "x", "%E4%BD%A0", "AAAA", cursor[:-4], ""):
        problem(await send(client, "GET", f"/toy/v1/things?kind=a&cursor={bad}"), 400, "invalid_cursor")


def test_cursors_of_another_secret_are_refused() -> None:
    cursor = Cursors(b"one").encode(["x", 1], "f")
    assert Cursors(b"one").decode(cursor, "f") == ["x", 1]
    with pytest.raises(Problem, match="invalid_cursor"):
        Cursors(b"two").decode(cursor, "f")


async def test_cursors_outlive_a_process_only_with_a_secret(
    client: HttpClient, database: Database, issuer: DevelopmentIssuer
) -> None:
    await things(client, 2)
    cursor = json.loads((await send(client, "GET", "/toy/v1/things?limit=1")).body)["next_cursor"]
    for secret, status in (("toy", 200), (None, 400)):
        other = make_app(database, issuer, cursor_secret=secret)
        there = HttpClient(base_url="http://toy", app=other)
        bearer = f"Bearer {issuer.token('admin')}"
        answer = await send(there, "GET", f"/toy/v1/things?cursor={cursor}", authorization=bearer)
        assert answer.status == status
        await there.close()


async def test_exports_give_complete_streams(client: HttpClient) -> None:
    await things(client, 5)
    for _ in range(2):
        await send(client, "PATCH", "/toy/v1/things/2", {"name": "y"}, if_match="*")
    path, streams = f"/toy/v1/exports/{TOPIC}?limit=2", []
    while path:
        answer = await send(client, "GET", path)
        page = json.loads(answer.body)
        streams.append([(item["key"], item["value"]["version"]) for item in page["items"]])
        link = answer.headers.get("link")
        path = link.split(">")[0].removeprefix("<") if link else ""
    assert streams == [
        [("thing:1", 1), ("thing:2", 1), ("thing:2", 2), ("thing:2", 3)],
        [("thing:3", 1), ("thing:4", 1)],
        [("thing:5", 1)],
    ]
    answer = await send(client, "GET", f"/toy/v1/exports/{TOPIC}?stream=thing:2&after_version=1")
    assert b'"value":{"version":  2}' in answer.body  # byte by byte as it was published
    assert [item["value"]["version"] for item in json.loads(answer.body)["items"]] == [2, 3]
    assert json.loads((await send(client, "GET", f"/toy/v1/exports/{TOPIC}?stream=thing:9")).body)["items"] == []
    problem(await send(client, "GET", "/toy/v1/exports/other"), 404, "not_found")


async def test_exports_and_dead_letters_are_for_admins(app: FastAPI, issuer: DevelopmentIssuer) -> None:
    client = HttpClient(base_url="http://toy", app=app, headers={"authorization": f"Bearer {issuer.token('manager')}"})
    for path in (f"exports/{TOPIC}", "dead-letters", "dead-letters/01900000-0000-7000-8000-000000000000"):
        problem(await send(client, "GET", f"/toy/v1/{path}"), 403, "forbidden")
    await client.close()
