"""API keys as an admin manages them: shown once, announced without secret, replaced with overlap, taken back."""

import hashlib
import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from shared.auth.api_keys import CACHED_SECONDS
from shared.events.goals import ApiKeyChanged
from shared.http_client import HttpClient
from shared.runtime.key_uses import report_key_uses
from shared.runtime.service import Peers
from tests.services.goals.harness import NOW, Goals
from tests.services.goals.test_exports import announced, exported

KEY = {"name": "CRM", "role": "admin", "scopes": ["goals:write", "kpi:read"]}
LATER = "2026-07-01T00:00:00Z"


async def asked_with(goals: Goals, key: str, path: str = "/people", method: str = "GET", body: object = None) -> Any:
    return await goals.call(method, path, body, headers={"authorization": f"Bearer {key}"})


async def test_a_key_is_shown_once_and_kept_as_a_hash(goals: Goals):
    answer = await goals.call("POST", "/api-keys", KEY | {"expires_at": LATER})
    assert answer.status == 201
    assert answer.headers["cache-control"] == "no-store"
    made = json.loads(answer.body)
    assert answer.headers["location"] == f"/goals/v1/api-keys/{made['id']}"
    prefix, key_id, secret = made["key"].split("_", 2)
    assert (prefix, key_id) == ("sg", made["id"].replace("-", ""))
    assert (await asked_with(goals, made["key"])).ok

    read = await goals.call("GET", f"/api-keys/{made['id']}")
    assert json.loads(read.body) == {name: value for name, value in made.items() if name != "key"}
    assert read.headers["etag"] == answer.headers["etag"]
    [event] = await goals.announced()
    assert isinstance(event, ApiKeyChanged)
    assert event.hash == hashlib.sha256(secret.encode()).hexdigest()
    assert (event.role, event.scopes, event.expires_at) == ("admin", ("goals:write", "kpi:read"), NOW.replace(
        month=7, day=1, hour=0))  # fmt: skip
    async with goals.database.transaction() as tx:
        for table in ("api_key", "directory_api_key", "outbox", "idempotency_key"):
            rows = (await tx.execute(text(f"SELECT to_jsonb(t)::text FROM {table} t"))).scalars()
            assert not any(secret in row for row in rows), table


async def test_a_repeat_makes_no_second_key_and_shows_nothing(goals: Goals):
    first = await goals.call("POST", "/api-keys", KEY, headers={"idempotency-key": "once"})
    again = await goals.call("POST", "/api-keys", KEY, headers={"idempotency-key": "once"})
    made, repeated = json.loads(first.body), json.loads(again.body)
    assert again.headers["idempotency-replayed"] == "true"
    assert made.pop("key").startswith("sg_")
    assert repeated.pop("key") is None
    assert made == repeated
    async with goals.database.transaction() as tx:
        [stored] = (await tx.execute(text("SELECT convert_from(body, 'UTF8') FROM idempotency_key"))).scalars()
    assert json.loads(stored)["key"] is None


@pytest.mark.parametrize(
    ("changes", "pointers"),
    [
        ({"name": ""}, {"/name"}),
        ({"scopes": []}, {"/scopes"}),
        ({"scopes": ["goals:admin"]}, {"/scopes/0"}),
        ({"role": "king"}, {"/role"}),
        ({"role": "rep", "scopes": ["kpi:read", "kpi:read"], "expires_at": "2020-01-01T00:00:00Z"},
         {"/person", "/scopes", "/expires_at"}),
        ({"role": "manager"}, {"/person"}),
        ({"secret": "mine"}, {"/secret"}),
    ],
)  # fmt: skip
async def test_what_cannot_be_a_key(goals: Goals, changes: dict[str, Any], pointers: set[str]):
    problem = await goals.problem("POST", "/api-keys", KEY | changes)
    assert problem["status"] == 422
    assert {error["pointer"] for error in problem["errors"]} == pointers
    assert await goals.announced() == []


async def test_a_key_is_taken_back_for_good(goals: Goals):
    made = await goals.ok("POST", "/api-keys", KEY)
    path = f"/api-keys/{made['id']}"
    assert (await asked_with(goals, made["key"])).ok
    assert (await goals.problem("DELETE", path))["status"] == 428
    assert (await goals.problem("DELETE", path, headers={"if-match": '"1"'}))["status"] == 412
    tag = (await goals.call("GET", path)).headers["etag"]
    assert (await goals.call("DELETE", path, headers={"if-match": tag})).status == 204
    goals.clock.now += timedelta(seconds=CACHED_SECONDS)
    refused = await asked_with(goals, made["key"])
    assert (refused.status, json.loads(refused.body)["code"]) == (401, "token_invalid")
    read = await goals.ok("GET", path)
    assert read["state"] == "revoked"
    assert read["revoked_at"] is not None
    told = [event for event in await goals.announced() if isinstance(event, ApiKeyChanged)]
    assert [event.deleted for event in told] == [False, True]
    assert (await goals.call("DELETE", path, headers={"if-match": "*"})).status == 204
    assert await goals.announced() == [], "once more changes nothing"
    unknown = "/api-keys/01900000-0000-7000-8000-000000000001"
    assert (await goals.problem("DELETE", unknown, headers={"if-match": "*"}))["status"] == 404
    assert (await goals.problem("GET", unknown))["status"] == 404


async def test_rotation_overlaps(goals: Goals):
    old = await goals.ok("POST", "/api-keys", KEY)
    new = await goals.ok("POST", f"/api-keys/{old['id']}/rotations", {"overlap_seconds": 600}, 201)
    assert new["replaces"] == old["id"]
    assert new["id"] != old["id"]
    assert {name: new[name] for name in KEY} == KEY
    assert new["expires_at"] is None
    for key in (old["key"], new["key"]):
        assert (await asked_with(goals, key)).ok
    goals.clock.now += timedelta(seconds=601)
    assert (await asked_with(goals, old["key"])).status == 401
    assert (await asked_with(goals, new["key"])).ok
    assert (await goals.ok("GET", f"/api-keys/{old['id']}"))["state"] == "expired"
    problem = await goals.problem("POST", f"/api-keys/{old['id']}/rotations", {})
    assert (problem["status"], problem["code"]) == (422, "api_key_ended")
    problem = await goals.problem("POST", f"/api-keys/{new['id']}/rotations", {"expires_at": "2020-01-01T00:00:00Z"})
    assert [error["pointer"] for error in problem["errors"]] == ["/expires_at"]


async def test_an_overlap_never_lengthens_a_life(goals: Goals):
    old = await goals.ok("POST", "/api-keys", KEY | {"expires_at": "2026-06-16T05:00:00Z"})
    await goals.ok("POST", f"/api-keys/{old['id']}/rotations", {})
    assert (await goals.ok("GET", f"/api-keys/{old['id']}"))["expires_at"].startswith("2026-06-16T05:00:00")


async def test_pages_of_keys(goals: Goals):
    made = [await goals.ok("POST", "/api-keys", KEY | {"name": f"key {n}"}) for n in range(5)]
    first = await goals.ok("GET", "/api-keys?limit=3")
    second = await goals.ok("GET", f"/api-keys?limit=3&cursor={first['next_cursor']}")
    assert [key["id"] for key in first["items"] + second["items"]] == [key["id"] for key in made]
    assert second["next_cursor"] is None
    assert all("key" not in key and "hash" not in key for key in first["items"])


@pytest.mark.parametrize(("role", "person"), [("rep", "ann"), ("manager", "rita")])
async def test_only_admins_manage_keys(goals: Goals, role: str, person: str):
    made = await goals.ok("POST", "/api-keys", KEY)
    for method, path, body in (
        ("POST", "/api-keys", KEY),
        ("POST", f"/api-keys/{made['id']}/rotations", {}),
        ("GET", "/api-keys", None),
        ("GET", f"/api-keys/{made['id']}", None),
        ("DELETE", f"/api-keys/{made['id']}", None),
        ("POST", "/api-key-uses", {"items": []}),
    ):
        told = await goals.problem(method, path, body, role=role, person=person, headers={"if-match": "*"})
        assert (told["status"], told["code"]) == (403, "forbidden"), (method, path)
        answer = await goals.call(method, path, body, headers={
            "if-match": "*", "authorization": f"Bearer {made['key']}"})  # fmt: skip
        told = json.loads(answer.body)
        assert (answer.status, told["code"]) == (403, "insufficient_scope"), (method, path)
    assert (await goals.ok("GET", f"/api-keys/{made['id']}"))["state"] == "active"


async def test_the_export_tells_keys_and_tombstones(goals: Goals):
    keys = [await goals.ok("POST", "/api-keys", KEY) for _ in range(3)]
    await goals.ok("POST", f"/api-keys/{keys[0]['id']}/rotations", {})
    await goals.call("DELETE", f"/api-keys/{keys[1]['id']}", headers={"if-match": "*"})
    await goals.ok("POST", "/teams", {"external_id": "red", "name": "Red"})
    told = await announced(goals)
    assert len([stream for stream in told["goals.people.v1"] if stream.startswith("api_key:")]) == 4
    assert await exported(goals, "goals.people.v1") == told["goals.people.v1"]


async def test_uses_are_noted_without_a_new_version(goals: Goals):
    made = await goals.ok("POST", "/api-keys", KEY)
    before = await goals.call("GET", f"/api-keys/{made['id']}")
    uses = [
        {"id": made["id"], "at": "2026-06-16T04:30:00Z"},
        {"id": "01900000-0000-7000-8000-000000000001", "at": LATER},
    ]
    assert (await goals.call("POST", "/api-key-uses", {"items": uses})).status == 204
    earlier = [{"id": made["id"], "at": "2026-06-16T04:10:00Z"}]
    assert (await goals.call("POST", "/api-key-uses", {"items": earlier})).status == 204
    after = await goals.call("GET", f"/api-keys/{made['id']}")
    assert json.loads(after.body)["last_used_at"].startswith("2026-06-16T04:30:00")
    assert before.headers["etag"] == after.headers["etag"]


async def test_a_service_reports_uses_and_keeps_those_it_could_not_tell(goals: Goals):
    made = await goals.ok("POST", "/api-keys", KEY)
    assert (await asked_with(goals, made["key"])).ok
    neighbour = HttpClient(base_url="http://kpi", app=goals.kpi)
    goals.kpi.status = 503
    await report_key_uses(goals.service, Peers(neighbour, neighbour, neighbour, neighbour)).run()
    assert (await goals.ok("GET", f"/api-keys/{made['id']}"))["last_used_at"] is None
    token = {"authorization": f"Bearer {goals.issuer.token('admin')}"}
    owner = HttpClient(base_url="http://goals", app=goals.service.app, headers=token)
    await report_key_uses(goals.service, Peers(owner, owner, owner, owner)).run()
    assert (await goals.ok("GET", f"/api-keys/{made['id']}"))["last_used_at"].startswith("2026-06-16T04:00:00")
    await neighbour.close()
    await owner.close()
