"""What notify owns, told again to whoever asks: the newest state of every rule and alert."""

from typing import Any

import httpx

from tests.services.notify.building import WON, moved, value
from tests.services.notify.conftest import Notify

KPI = {"kpi": "win_rate", "scope": "org", "grain": "month", "op": "lt", "threshold": "0.20"}


async def export(client: httpx.AsyncClient, topic: str, **wanted: str) -> list[dict[str, Any]]:
    """Return everything of a topic, page by page."""
    items: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        params = {**wanted, **({"cursor": cursor} if cursor else {})}
        answer = await client.get(f"/notify/v1/exports/{topic}", params=params)
        assert answer.status_code == 200, answer.text
        items += answer.json()["items"]
        cursor = answer.json()["next_cursor"]
    return items


async def test_rules_are_exported_as_they_were_announced(notify: Notify) -> None:
    client = notify.client()
    for threshold in ("0.10", "0.20", "0.30"):
        await notify.make_rule(when={**KPI, "threshold": threshold})
    gone = await notify.make_rule()
    await client.delete(f"/notify/v1/rules/{gone['id']}", headers={"if-match": "*"})
    announced = {event.stream: event for event in await notify.announced("notify.rule.changed.v1")}
    items = await export(client, "notify.rules.v1", limit="3")
    assert [item["key"] for item in items] == sorted(announced)
    for item in items:
        event = announced[item["key"]]
        assert item["headers"]["ce_id"] == str(event.id)
        assert item["headers"]["ce_sequence"] == str(event.version)
        assert item["value"]["deleted"] is event.deleted
    stream = f"rule:{gone['id']}"
    newest = announced[stream].version
    assert len(await export(client, "notify.rules.v1", stream=stream, after_version=str(newest - 1))) == 1
    assert await export(client, "notify.rules.v1", stream=stream, after_version=str(newest)) == []
    assert await export(client, "notify.rules.v1", stream="rule:nonsense") == []
    assert (await notify.client("manager", "x").get("/notify/v1/exports/notify.rules.v1")).status_code == 403


async def test_alerts_are_exported_with_their_cause(notify: Notify) -> None:
    await notify.make_rule(when={**KPI, "for": "PT1H"})
    await notify.make_rule()
    await notify.hear(value("0.10", 1, recorded_at=notify.clock()))
    await notify.hear_news(moved(WON, version=1))
    (item,) = await export(notify.client(), "notify.alerts.v1")
    (event,) = await notify.announced("notify.alert.changed.v1")
    assert (item["key"], item["headers"]["ce_id"]) == (event.stream, str(event.id))
    assert item["headers"]["ce_correlationid"] == "request-1"
    assert item["value"]["state"] == "firing"
