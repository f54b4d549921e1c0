import json
from collections.abc import Mapping
from typing import Any

import pytest
from fastapi import FastAPI

from shared.auth.development_issuer import DevelopmentIssuer
from shared.db.engine import Database
from shared.http_client import Answer, HttpClient
from shared.web.validation_texts import field_text
from tests.shared.web.toy import make_app

JSON = {"content-type": "application/json"}


async def send(client: HttpClient, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    told = {**(JSON if raw is not None else {}), **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await client.request(method, path, body=raw, headers=told)


def problem(answer: Answer, status: int, code: str) -> Mapping[str, Any]:
    """Check that `answer` is a whole problem and return it."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = json.loads(answer.body)
    assert told["code"] == code
    assert told["status"] == status
    assert told["type"] == f"/problems/{code}"
    assert told["request_id"] == answer.headers["x-request-id"]
    assert {"title", "detail", "instance"} <= set(told)
    assert answer.headers["content-language"] in ("zh", "en")
    return told


def pointers(told: Mapping[str, Any]) -> dict[str, str]:
    return {error["pointer"] or f"?{error['parameter']}": error["code"] for error in told["errors"]}


async def test_unknown_paths_and_methods(client: HttpClient) -> None:
    told = problem(await send(client, "GET", "/toy/v1/nothing/here?x=1"), 404, "not_found")
    assert told["instance"] == "/toy/v1/nothing/here"
    for path in ("/", "/toy", "/toy/v1/things/", "/toy/v2/things", "/toy/v1/%E4%BD%A0/x", "/toy/v1/named/%00"):
        problem(await send(client, "GET", path), 404, "not_found")
    answer = await send(client, "DELETE", "/toy/v1/things")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    answer = await send(client, "GET", "/toy/v1/things/1/moves")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "OPTIONS, POST"


async def test_options_and_head(client: HttpClient) -> None:
    answer = await send(client, "OPTIONS", "/toy/v1/things")
    assert (answer.status, answer.headers["allow"], answer.body) == (204, "GET, HEAD, OPTIONS, POST", b"")
    problem(await send(client, "OPTIONS", "/toy/v1/nowhere"), 404, "not_found")
    full, head = await send(client, "GET", "/toy/v1/things"), await send(client, "HEAD", "/toy/v1/things")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(full.body))


async def test_all_bad_fields_at_once_with_pointers(client: HttpClient) -> None:
    body = {
        "name": "", "code": "Not A Code", "extra/field": 1, "names": {"zh": "a", "~x": 1},
        "amount": {"amount": 12.3, "currency": "rmb"}, "target": {"factor": "-1"}, "count": True, "done": 0,
        "day": "yesterday", "at": "2026-01-01T00:00:00", "ids": ["x", "01900000-0000-7000-8000-000000000000", 7],
        "fields": [],
    }  # fmt: skip
    told = problem(await send(client, "POST", "/toy/v1/things", body), 422, "validation_failed")
    assert pointers(told) == {
        "/name": "too_short",
        "/code": "invalid_format",
        "/extra~1field": "unknown_field",
        "/names/en": "required",
        "/names/~0x": "unknown_field",
        "/amount/amount": "wrong_type",
        "/amount/currency": "invalid_format",
        "/target": "wrong_type",
        "/target/relative_to": "required",
        "/target/factor": "too_small",
        "/count": "wrong_type",
        "/done": "wrong_type",
        "/day": "invalid_format",
        "/at": "invalid_format",
        "/ids/0": "invalid_format",
        "/ids/2": "invalid_format",
        "/fields": "wrong_type",
    }


async def test_a_currency_that_nobody_knows_is_a_bad_field_in_both_languages(client: HttpClient) -> None:
    body = {"name": "x", "amount": {"amount": "1.00", "currency": "XXX"}}
    details = []
    for language in ("zh", "en"):
        answer = await send(client, "POST", "/toy/v1/things", body, accept_language=language)
        told = problem(answer, 422, "validation_failed")
        assert pointers(told) == {"/amount/currency": "not_a_currency"}
        details.append(told["errors"][0]["detail"])
    assert details == ["XXX 不是 ISO 4217 货币代码", "XXX is no currency code of ISO 4217"]


@pytest.mark.parametrize(
    "day", [1767225600, "1767225600", 0, 1.0, True, "2026-12-31T00:00:00Z", "20261231", "2026-2-30"]
)
async def test_numbers_and_times_are_no_days(client: HttpClient, day: object) -> None:
    told = problem(await send(client, "POST", "/toy/v1/things", {"name": "x", "day": day}), 422, "validation_failed")
    assert pointers(told) == {"/day": "invalid_format"}


async def test_the_hot_route_finds_the_same_errors(client: HttpClient) -> None:
    body = {"to_stage": "", "reason": 7, "amount": {"amount": "1.234", "currency": "CNY", "x": 1}, "y": None}
    answer = await send(client, "POST", "/toy/v1/things/7/moves", body)
    told = problem(answer, 422, "validation_failed")
    assert pointers(told) == {
        "/to_stage": "too_short", "/reason": "wrong_type", "/amount/x": "unknown_field", "/y": "unknown_field",
    }  # fmt: skip
    assert (await send(client, "POST", "/toy/v1/things/7/moves", {"to_stage": "a\u0000b"})).status == 422
    problem(await send(client, "POST", "/toy/v1/things/7/moves", b"{"), 400, "malformed_json")
    problem(await send(client, "POST", "/toy/v1/things/7/moves", b""), 422, "validation_failed")
    answer = await send(client, "POST", "/toy/v1/things/7/moves", b"{}", content_type="text/plain")
    problem(answer, 415, "unsupported_media_type")
    answer = await send(client, "POST", "/toy/v1/things/7/moves", {"to_stage": "demo"})
    assert json.loads(answer.body) == {"to_stage": "demo", "by": "admin", "thing_id": "7"}


async def test_bad_query_parameters(client: HttpClient) -> None:
    told = problem(await send(client, "GET", "/toy/v1/things?limit=0&foo=1&kind=a&kind=c"), 422, "validation_failed")
    assert pointers(told) == {"?limit": "too_small", "?foo": "unknown_parameter", "?kind": "not_allowed"}
    assert all(error["pointer"] == "" for error in told["errors"])
    for query, code in {
        "limit=201": "too_large", "limit=x": "wrong_type", f"limit={'9' * 5000}": "too_large",
        "name=a%00b": "unusable_text", "after=2026-01-01": "invalid_format", "after=1700000000": "invalid_format",
    }.items():  # fmt: skip
        told = problem(await send(client, "GET", f"/toy/v1/things?{query}"), 422, "validation_failed")
        assert pointers(told) == {f"?{query.split('=')[0]}": code}
    told = problem(await send(client, "GET", "/toy/v1/admin?who=me"), 422, "validation_failed")
    assert pointers(told) == {"?who": "unknown_parameter"}


async def test_ids_that_are_none_are_not_found(client: HttpClient) -> None:
    for path in ("people/7", "people/x%20y", "things/abc", f"dead-letters/{'9' * 40}"):
        problem(await send(client, "GET", f"/toy/v1/{path}"), 404, "not_found")


@pytest.mark.parametrize(
    "body",
    [
        b'{"name":', b"", b"\xff\xfe", b'{"name": "\xff"}', b'{"name": "\xed\xa0\x80"}', b"{'name': 1}", b"[" * 100_000,
        b'{"name": "x", "fields": {"a": NaN}}', b'{"name": "x", "fields": {"a": -Infinity}}',
        '{"name": "x"}'.encode("utf-16"), '{"name": "x"}'.encode("utf-16-le"), b'{"name": "x\x00"}',
        b'{"name": "x", "count": ' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
async def test_bodies_that_are_no_json(client: HttpClient, body: bytes) -> None:
    answer = await send(client, "POST", "/toy/v1/things", body)
    if body:
        problem(answer, 400, "malformed_json")
    else:
        problem(answer, 422, "validation_failed")


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        (rb'{"name": "a\u0000b"}', "/name", "unusable_text"),
        (rb'{"name": "x", "fields": {"a/b": ["\ud800"]}}', "/fields/a~1b/0", "unusable_text"),
        (rb'{"name": "x", "fields": {"\u0000": 1}}', "/fields", "unusable_text"),
        (b'{"name": "x", "fields": {"a": 1e999}}', "/fields/a", "too_large"),
        (b'{"name": "x", "count": 1e999}', "/count", "too_large"),
        (b'{"name": "x", "count": 9007199254740992}', "/count", "too_large"),
        (b'{"name": "x", "fields": {"a": %s}}' % (b"[" * 40 + b"]" * 40), "/fields/a" + "/0" * 31, "too_deep"),
    ],
)
async def test_values_that_cannot_be_kept(client: HttpClient, body: bytes, pointer: str, code: str) -> None:
    told = problem(await send(client, "POST", "/toy/v1/things", body), 422, "validation_failed")
    assert pointers(told) == {pointer: code}


async def test_escaped_texts_that_can_be_kept(client: HttpClient) -> None:
    body = rb'{"name": "\u4f60\ud83d\ude00 \\u0000 NaN", "fields": {"a": [1e308, "1e999"]}}'
    answer = await send(client, "POST", "/toy/v1/things", body)
    assert json.loads(answer.body)["name"] == "你😀 \\u0000 NaN"


async def test_other_content_types_and_sizes(client: HttpClient) -> None:
    for headers in ({"content_type": "text/plain"}, {"content_type": ""}, {"content_type": "application/xml"}):
        answer = await send(client, "POST", "/toy/v1/things", b'{"name": "x"}', **headers)
        problem(answer, 415, "unsupported_media_type")
    answer = await send(client, "POST", "/toy/v1/things", b'{"name": "x"}', content_type="application/vnd.x+json")
    assert answer.status == 201
    problem(await send(client, "POST", "/toy/v1/things", {"name": "x" * 100_000}), 413, "body_too_large")
    answer = await send(client, "POST", "/toy/v1/uploads", b"x", content_type="multipart/form-data")
    problem(answer, 400, "malformed_body")


async def test_a_body_without_a_length_is_counted(app: FastAPI) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x" * 60_000, "more_body": True}

    async def collect(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")]
    scope = {"type": "http", "method": "POST", "path": "/toy/v1/things", "query_string": b"", "headers": headers}
    await app(scope, receive, collect)
    assert sent[0]["status"] == 413
    assert json.loads(sent[1]["body"])["code"] == "body_too_large"


async def test_what_nobody_expected_says_nothing_of_its_inside(client: HttpClient) -> None:
    answer = await send(client, "GET", "/toy/v1/broken", x_request_id="abc-123")
    told = problem(answer, 500, "internal_error")
    assert b"secret" not in answer.body
    assert told["request_id"] == "abc-123"
    assert "errors" not in told


async def test_busy_and_unreachable(client: HttpClient) -> None:
    answer = await send(client, "GET", "/toy/v1/busy")
    problem(answer, 503, "overloaded")
    assert answer.headers["retry-after"] == "1"
    answer = await send(client, "GET", "/toy/v1/unreachable")
    problem(answer, 503, "database_unavailable")
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("accept", "language"),
    [("zh-CN,zh;q=0.9,en;q=0.5", "zh"), ("en", "en"), ("fr", "en"), ("zh;q=0.1,en;q=0.9", "en"), ("", "en")],
)
async def test_the_language_follows_the_caller(client: HttpClient, accept: str, language: str) -> None:
    answer = await send(client, "POST", "/toy/v1/things", {}, accept_language=accept)
    told = problem(answer, 422, "validation_failed")
    assert answer.headers["content-language"] == language
    assert told["errors"][0]["detail"] == {"zh": "必填", "en": "is required"}[language]


@pytest.mark.parametrize(
    ("kind", "name", "told", "chinese"),
    [
        ("literal_error", "expected", "'open', 'done' or 'cancelled'", "应为 'open'、'done'或'cancelled' 之一"),
        ("enum", "expected", "'a' or 'b'", "应为 'a'或'b' 之一"),
        ("union_tag_invalid", "expected_tags", "'a', 'b'", "应为 'a'、'b' 之一"),
    ],
)
def test_choices_are_listed_in_the_callers_language(kind: str, name: str, told: str, chinese: str) -> None:
    assert field_text(kind, {name: told}) == ("not_allowed", {"zh": chinese, "en": f"must be one of {told}"})


async def test_a_wrong_choice_is_told_without_english_in_chinese(client: HttpClient) -> None:
    answer = await send(client, "GET", "/toy/v1/things?kind=c", accept_language="zh")
    [error] = problem(answer, 422, "validation_failed")["errors"]
    assert error["detail"] == "应为 'a'或'b' 之一"


async def test_who_may_ask(app: FastAPI, issuer: DevelopmentIssuer) -> None:
    client = HttpClient(base_url="http://toy", app=app)
    for header, code in {"": "unauthenticated", "Basic x": "unauthenticated", "Bearer ": "unauthenticated"}.items():
        answer = await send(client, "GET", "/toy/v1/things", **({"authorization": header} if header else {}))
        problem(answer, 401, code)
        assert answer.headers["www-authenticate"].startswith("Bearer")
    answer = await send(client, "POST", "/toy/v1/things/1/moves", b"{}", authorization="Bearer x.y.z")
    problem(answer, 401, "token_invalid")
    for role, admin, manager in (("rep", 403, 403), ("manager", 403, 200), ("admin", 200, 200)):
        bearer = f"bearer {issuer.token(role)}"
        assert (await send(client, "GET", "/toy/v1/admin", authorization=bearer)).status == admin
        assert (await send(client, "GET", "/toy/v1/managers", authorization=bearer)).status == manager
    answer = await send(client, "GET", "/toy/v1/admin", authorization=f"Bearer {issuer.token('rep')}")
    problem(answer, 403, "forbidden")
    await client.close()


async def test_errors_carry_cors_headers(database: Database, issuer: DevelopmentIssuer) -> None:
    app = make_app(database, issuer, cors_origins=["https://front.example"])
    client = HttpClient(base_url="http://toy", app=app)
    for path, status in (("broken", 500), ("nothing", 404), ("things", 401), ("unreachable", 503)):
        answer = await send(client, "GET", f"/toy/v1/{path}", origin="https://front.example")
        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == "https://front.example"
        assert "ETag" in answer.headers["access-control-expose-headers"]
    answer = await send(client, "GET", "/toy/v1/things", origin="https://elsewhere.example")
    assert "access-control-allow-origin" not in answer.headers
    answer = await send(
        client, "OPTIONS", "/toy/v1/things", origin="https://front.example",
        access_control_request_method="POST", access_control_request_headers="authorization,idempotency-key,if-match",
    )  # fmt: skip
    assert answer.status == 200
    assert "if-match" in answer.headers["access-control-allow-headers"]
    await client.close()


async def test_a_request_id_is_taken_over_or_made(client: HttpClient) -> None:
    assert (await send(client, "GET", "/livez", x_request_id="mine.1")).headers["x-request-id"] == "mine.1"
    for bad in ("x" * 200, "with space", "a\x7f"):
        assert (await send(client, "GET", "/livez", x_request_id=bad)).headers["x-request-id"] != bad


async def test_an_upload_may_be_larger_than_a_body(client: HttpClient) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body = head + b"x" * 200_000 + b"\r\n--b--\r\n"
    answer = await send(client, "POST", "/toy/v1/uploads", body, content_type="multipart/form-data; boundary=b")
    assert answer.status != 413
    problem(await send(client, "POST", "/toy/v1/things", body), 413, "body_too_large")
