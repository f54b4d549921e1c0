"""Keys of machines in the whole system: made once, good everywhere, within their scopes, and gone when taken back."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from tests.embedded_system import System
from tests.flows.company import SERVICES, new_deal
from tests.system_caller import Caller, Json, until

pytestmark = pytest.mark.slow

READS = {"pipeline": "/pipeline/v1/deals", "kpi": "/kpi/v1/definitions", "goals": "/goals/v1/people",
         "notify": "/notify/v1/alerts"}  # fmt: skip
# Operations that are no matter of tokens: webhooks prove themselves by their signature.
BY_SIGNATURE = {("POST", "/pipeline/v1/webhooks/{source}")}
METHODS = ("get", "put", "post", "delete", "patch")


async def make_key(admin: Caller, *scopes: str, role: str = "admin", person: str | None = None) -> Json:
    body = {"name": f"key {uuid4().hex[:6]}", "role": role, "scopes": scopes}
    made: Json = await admin.post("/goals/v1/api-keys", body if person is None else body | {"person": person})
    return made


@asynccontextmanager
async def caller_with(system: System, key: Json) -> AsyncIterator[Caller]:
    """A caller with a key that every service knows by now."""
    statement = "SELECT count(*) FROM directory_api_key WHERE key_id = $1::text::uuid"

    async def known() -> bool:
        return all([await system.rows(service, statement, key["id"]) == [(1,)] for service in SERVICES])

    await until(known)
    async with Caller(system.url, key["key"]) as caller:
        yield caller


async def code_of(caller: Caller, method: str, path: str) -> tuple[int, Json]:
    """Status and problem of a request without a body; an event stream is closed as soon as it has begun."""
    async with caller.http.stream(method, path, headers={"if-match": "*"}) as answer:
        if answer.status_code < 400:
            return answer.status_code, {}
        await answer.aread()
        problem: Json = answer.json()
        return answer.status_code, problem


async def operations(caller: Caller) -> list[tuple[str, str, str]]:
    """Every operation of every service: service, method and a path with something in its place-holders."""
    document: Mapping[str, Any] = await caller.get("/openapi.json")
    return [
        (path.split("/")[1], method.upper(), re.sub(r"\{\w+\}", str(uuid4()), path))
        for path, methods in document["paths"].items()
        for method in methods
        if method in METHODS and (method.upper(), path) not in BY_SIGNATURE
    ]


async def test_a_key_is_good_in_every_service_until_it_is_taken_back(system: System, admin: Caller) -> None:
    key = await make_key(admin, *(f"{service}:write" for service in SERVICES))
    async with caller_with(system, key) as machine:
        for path in READS.values():
            await machine.get(path)
        deal = await new_deal(machine, "ann", "5.00")
        moved = await machine.move(deal["id"], "talk")
        assert moved["deal"]["stage"]["code"] == "talk"
        history = await machine.get(f"/pipeline/v1/deals/{deal['id']}/history")
        assert history["items"][-1]["by"] == f"api-key:{key['id']}"

        await admin.delete(f"/goals/v1/api-keys/{key['id']}")

        async def refused() -> bool:
            return all([(await code_of(machine, "GET", path))[0] == 401 for path in READS.values()])

        await until(refused)
        status, problem = await code_of(machine, "POST", f"/pipeline/v1/deals/{deal['id']}/moves")
        assert (status, problem["code"]) == (401, "token_invalid")


async def test_a_replaced_key_and_its_successor(system: System, admin: Caller) -> None:
    old = await make_key(admin, "kpi:read")
    new = await admin.post(f"/goals/v1/api-keys/{old['id']}/rotations", {"overlap_seconds": 3600})
    async with caller_with(system, old) as one, caller_with(system, new) as two:
        await one.get(READS["kpi"])
        await two.get(READS["kpi"])
    stopped = await admin.post(f"/goals/v1/api-keys/{new['id']}/rotations", {"overlap_seconds": 0})
    async with caller_with(system, new) as two, caller_with(system, stopped) as three:

        async def ended() -> bool:
            return (await code_of(two, "GET", READS["kpi"]))[0] == 401

        await until(ended)
        await three.get(READS["kpi"])


async def test_a_key_of_a_person_sees_what_the_person_sees(system: System, admin: Caller) -> None:
    deals = {seller: await new_deal(admin, seller, "5.00") for seller in ("ann", "ben", "cy")}
    for role, person, seen in (("rep", "ann", {"ann"}), ("manager", "mia", {"ann", "ben"})):
        key = await make_key(admin, "pipeline:read", "kpi:read", role=role, person=person)
        async with caller_with(system, key) as machine:
            for seller, deal in deals.items():
                expected = 200 if seller in seen else 404
                assert (await code_of(machine, "GET", f"/pipeline/v1/deals/{deal['id']}"))[0] == expected
                path = f"/kpi/v1/values?kpi=won_count&scope=person:{seller}"
                assert (await code_of(machine, "GET", path))[0] == expected
            assert (await code_of(machine, "GET", "/kpi/v1/values?kpi=won_count&scope=org"))[0] == 404


@pytest.mark.parametrize("service", SERVICES)
async def test_every_operation_stays_within_the_scopes(system: System, admin: Caller, service: str) -> None:
    """The matrix is made from OpenAPI: an operation that forgets to ask who calls fails here."""
    made = await operations(admin)
    mine = [(method, path) for owner, method, path in made if owner == service]
    others = [f"{other}:write" for other in SERVICES if other != service]
    stranger = await make_key(admin, *others, role="rep", person="nobody")
    reader = await make_key(admin, f"{service}:read", role="rep", person="nobody")
    writer = await make_key(admin, f"{service}:write", role="rep", person="nobody")
    assert len(mine) > 5
    async with caller_with(system, stranger) as caller:
        for method, path in mine:
            needed = f"{service}:{'read' if method == 'GET' else 'write'}"
            status, problem = await code_of(caller, method, path)
            assert (status, problem.get("code"), problem.get("scope")) == (403, "insufficient_scope", needed), path
    async with caller_with(system, reader) as caller:
        for method, path in mine:
            status, problem = await code_of(caller, method, path)
            assert status != 401, path
            assert (problem.get("code") == "insufficient_scope") is (method != "GET"), (method, path)
    async with caller_with(system, writer) as caller:
        for method, path in mine:
            status, problem = await code_of(caller, method, path)
            assert status != 401, path
            assert problem.get("code") != "insufficient_scope", (method, path)
