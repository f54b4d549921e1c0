"""The exports tell what was announced: the newest event of every stream, the same to the byte."""

import json
from datetime import date

from shared.events.kpi import Watch
from tests.services.goals.harness import Goals, Organisation, value_message

GOAL = {
    "title": "Q2",
    "kpi": "won_amount",
    "period": {"grain": "quarter", "start": "2026-04-01"},
    "target": "1000.00",
    "currency": "CNY",
}


async def exported(goals: Goals, topic: str, limit: int = 2) -> dict[str, tuple[int, object]]:
    """Return stream -> (version, value) of everything exported, read in small pages."""
    found: dict[str, tuple[int, object]] = {}
    cursor = ""
    while cursor is not None:
        page = await goals.ok("GET", f"/exports/{topic}?limit={limit}{cursor and '&cursor=' + cursor}")
        for item in page["items"]:
            assert item["key"] not in found
            found[item["headers"]["ce_subject"]] = (int(item["headers"]["ce_sequence"]), item["value"])
        cursor = page["next_cursor"]
    return found


async def announced(goals: Goals) -> dict[str, dict[str, tuple[int, object]]]:
    """Return topic -> stream -> (version, value) of the newest that was announced."""
    found: dict[str, dict[str, tuple[int, object]]] = {}
    for message in await goals.sent():
        version = int(message.headers["ce_sequence"])
        stream = found.setdefault(message.topic, {})
        if stream.get(message.key, (0, None))[0] < version:
            stream[message.key] = (version, json.loads(message.value))
    return found


async def test_exports_equal_what_was_announced(goals: Goals, organisation: Organisation):
    first = await goals.ok("POST", "/goals", GOAL)
    second = await goals.ok("POST", "/goals", GOAL | {"scope": "team:red"})
    await goals.ok("POST", f"/goals/{first['id']}/allocations", {})
    await goals.ok("POST", f"/goals/{second['id']}/allocations", {})
    for n, scope in enumerate(["org", f"person:{organisation.people['ann']}", f"person:{organisation.people['cid']}"]):
        watch = Watch(
            kpi="won_amount", scope=scope, grain="quarter", start=date(2026, 4, 1), end=date(2026, 7, 1), currency="CNY"
        )
        await goals.tell(value_message(watch, f"{n}00.00", n + 1), value_message(watch, f"{n}00.00", n + 2))
    await goals.ok("POST", f"/goals/{first['id']}/allocations", {"people": ["ann", "ben"]})
    await goals.call("DELETE", f"/goals/{second['id']}", headers={"if-match": "*"})
    await goals.change(f"/people/{organisation.people['ann']}", {"team_id": "blue", "name": "Anne"})
    told = await announced(goals)
    assert await exported(goals, "goals.people.v1") == told["goals.people.v1"]
    assert await exported(goals, "goals.goals.v1") == told["goals.goals.v1"]


async def test_one_stream_behind_a_version(goals: Goals, organisation: Organisation):
    stream = f"person:{organisation.people['ann']}"
    path = f"/exports/goals.people.v1?stream={stream}"
    [item] = (await goals.ok("GET", path))["items"]
    version = int(item["headers"]["ce_sequence"])
    assert (await goals.ok("GET", f"{path}&after_version={version}"))["items"] == []
    assert len((await goals.ok("GET", f"{path}&after_version={version - 1}"))["items"]) == 1
    assert (await goals.ok("GET", "/exports/goals.people.v1?stream=person:nobody"))["items"] == []
    assert (await goals.problem("GET", path, role="manager", person="rita"))["status"] == 403
