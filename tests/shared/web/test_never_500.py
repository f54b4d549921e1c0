"""Whatever is sent, the answer is a success or a problem below 500; and both validators of a hot route agree."""

import json
from typing import Any
from urllib.parse import quote

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.http_client import HttpClient
from tests.shared.web.toy import Move, MoveBody

QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
text = st.text(st.characters(exclude_categories=[]), max_size=20)
numbers = st.one_of(st.integers(), st.floats(), st.sampled_from([2**63, -(2**63) - 1, 1e308, 10**400]))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, text),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(text, inner, max_size=4)),
    max_leaves=8,
)
names = [
    "name",
    "code",
    "note",
    "external_id",
    "names",
    "amount",
    "target",
    "count",
    "done",
    "day",
    "at",
    "ids",
    "fields",
]
likely = st.one_of(
    values,
    st.sampled_from(["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-02-30T00:00:00Z", "1", "-1.5"]),
    st.fixed_dictionaries({"amount": st.sampled_from(["1", "1e5", "9" * 16, "-0.00"]), "currency": st.just("CNY")}),
)
bodies = st.one_of(
    values, st.dictionaries(st.sampled_from(names), likely, max_size=6).map(lambda b: {"name": "x", **b})
)


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


async def fine(client: HttpClient, method: str, path: str, body: bytes | None = None) -> None:
    answer = await client.request(method, path, body=body, headers={"content-type": "application/json"})
    assert answer.status < 500, (path, body, answer.body)
    if answer.status >= 400 and method != "HEAD":
        assert answer.headers["content-type"] == "application/problem+json"
        assert json.loads(answer.body)["status"] == answer.status


@QUICK
@given(bodies.map(as_json) | st.binary(max_size=60))
async def test_bodies(client: HttpClient, body: bytes) -> None:
    await fine(client, "POST", "/toy/v1/things", body)
    await fine(client, "POST", "/toy/v1/things/1/moves", body)


@QUICK
@given(
    st.sampled_from(["limit", "cursor", "name", "after", "kind", "stream", "after_version", "group", "ticket", "é"]),
    text | st.integers().map(str),
)
async def test_queries(client: HttpClient, name: str, value: str) -> None:
    query = f"{quote(name)}={quote(value.encode('utf-8', 'surrogatepass'))}"
    for path in ("things", "dead-letters", "exports/toy.things.v1"):
        await fine(client, "GET", f"/toy/v1/{path}?{query}")


@QUICK
@given(text, st.sampled_from(["GET", "POST", "PATCH", "DELETE", "OPTIONS", "HEAD", "PUT"]))
async def test_paths(client: HttpClient, name: str, method: str) -> None:
    told = quote(name.encode("utf-8", "surrogatepass"), safe="")
    for path in ("things", "people", "named", "dead-letters", "exports"):
        await fine(client, method, f"/toy/v1/{path}/{told}")


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["to_stage", "reason", "amount", "other"]),
        st.one_of(values, st.just({"amount": "1.50", "currency": "CNY"}), st.text(min_size=1, max_size=5)),
    )
)
def test_what_the_fast_decoder_refuses_the_model_explains(body: dict[str, Any]) -> None:
    raw = as_json(body)
    try:
        msgspec.json.decode(raw, type=Move)
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            MoveBody.model_validate(json.loads(raw))
        except ValidationError:
            return
        raise AssertionError(raw) from None
