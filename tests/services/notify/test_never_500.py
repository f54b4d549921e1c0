"""Whatever is sent to notify, the answer is a success or a problem below 500."""

import json
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.services.notify.conftest import Notify

QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
text = st.text(st.characters(exclude_categories=[]), max_size=12)
numbers = st.one_of(st.integers(), st.floats(), st.sampled_from([2**63, 1e308, 10**400]))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, text),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(text, inner, max_size=3)),
    max_leaves=6,
)
SAID: dict[str, list[Any]] = {
    "kpi": ["win_rate", "x" * 65, "\u0000"],
    "scope": ["org", "person:a", "person:\ud800", "org:"],
    "grain": ["month", "total"],
    "op": ["lt", "ge"],
    "threshold": ["0.2", "-0", "9" * 15, "1e5", 10**15, "NaN"],
    "for": ["PT1S", "P366D", "P999999999D", "P9999999999999999999D", "PT0S"],
    "min_sample_size": [0, -1, 2**60],
    "hysteresis": ["0", "1.5", "-0.0"],
    "event": ["deal_won", "goal_missed", "sla_breached"],
    "where": [{}, {"owner": []}, {"amount_at_least": {"amount": "1", "currency": "JPY"}}, {"goal_id": "x"}],
}
likely = st.fixed_dictionaries({}, optional={name: st.sampled_from(known) | values for name, known in SAID.items()})
rules = st.fixed_dictionaries(
    {"name": st.just("x") | values, "when": likely | values},
    optional={
        "severity": st.sampled_from(["info", "loud"]) | values,
        "to": st.sampled_from(["owner", {"external_id": "a"}, {"person_id": "b"}]) | values,
        "channels": values,
    },
)
urls = st.sampled_from(
    [
        "http://127.0.0.1:9/",
        "http://[",
        "http://a:b/",
        "http://\u0000/",
        "http://" + "a" * 300 + ".example/",
        "http://...",
    ]
)
channels = st.fixed_dictionaries(
    {"kind": st.sampled_from(["webhook", "in_app"]) | values},
    optional={"url": urls | values, "secret": text | values, "name": values},
)


async def fine(client: httpx.AsyncClient, method: str, path: str, body: Any = None, **params: str) -> None:
    content = json.dumps(body).encode() if body is not None else None
    headers = {"content-type": "application/json", "if-match": "*"}
    answer = await client.request(method, path, content=content, headers=headers, params=params)
    assert answer.status_code < 500, (path, body, answer.text)
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"


@QUICK
@given(rules)
async def test_rules(notify: Notify, body: Any) -> None:
    client = notify.client()
    await fine(client, "POST", "/notify/v1/rules", body)


@QUICK
@given(st.fixed_dictionaries({}, optional={"when": likely, "to": values, "channels": values, "name": values}))
async def test_changes_of_a_rule(notify: Notify, body: Any) -> None:
    client = notify.client()
    found = (await client.get("/notify/v1/rules")).json()["items"]
    rule = found[0] if found else await notify.make_rule()
    await fine(client, "PATCH", f"/notify/v1/rules/{rule['id']}", body)


@QUICK
@given(channels)
async def test_channels(notify: Notify, body: Any) -> None:
    await fine(notify.client(), "POST", "/notify/v1/channels", body)


@QUICK
@given(text, text, st.sampled_from(["alerts", "deliveries", "inbox", "rules", "channels"]))
async def test_questions(notify: Notify, name: str, told: str, what: str) -> None:
    client = notify.client()
    usable = {"cursor": told.encode("utf-8", "ignore").decode(), "state": name.encode("utf-8", "ignore").decode()}
    await fine(client, "GET", f"/notify/v1/{what}", **usable)
    await fine(client, "GET", f"/notify/v1/{what}/not-an-id")
