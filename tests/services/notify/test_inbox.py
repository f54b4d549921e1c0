"""The inbox: who is told, what is read, what a stream says, and who sees which alert."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.services.notify.building import WON, moved, person, team, value
from tests.services.notify.conftest import Notify
from tests.shared.web.streaming import listening, serving


class Sales:
    """A company with two teams; each has a lead and a rep."""

    def __init__(self) -> None:
        self.company, self.east, self.west = uuid4(), uuid4(), uuid4()
        self.boss, self.eve, self.will, self.zhang, self.wang = (uuid4() for _ in range(5))

    async def tell(self, notify: Notify) -> None:
        await notify.hear(
            team(self.company, "company", self.boss),
            team(self.east, "east", self.eve, self.company),
            team(self.west, "west", self.will, self.company),
            person(self.boss, "boss", self.company, "manager"),
            person(self.eve, "eve", self.east, "manager"),
            person(self.will, "will", self.west, "manager"),
            person(self.zhang, "zhang", self.east),
            person(self.wang, "wang", self.west),
        )


@pytest.fixture
async def sales(notify: Notify) -> Sales:
    found = Sales()
    await found.tell(notify)
    return found


async def inbox_of(notify: Notify, external_id: str, **wanted: str) -> dict[str, Any]:
    answer = await notify.client("rep", external_id).get("/notify/v1/inbox", params=wanted)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


async def who_was_told(notify: Notify) -> list[str]:
    await notify.send_all()
    people = ("boss", "eve", "will", "zhang", "wang")
    return [one for one in people if (await inbox_of(notify, one))["items"]]


@pytest.mark.parametrize(
    ("to", "told"),
    [("owner", ["zhang"]), ("manager", ["eve"]), ({"external_id": "wang"}, ["wang"]), (None, [])],
)
async def test_whom_a_rule_tells_of_a_deal(notify: Notify, sales: Sales, to: Any, told: list[str]) -> None:
    await notify.make_rule(to=to)
    await notify.hear_news(moved(WON, version=1, owner="external:zhang"))
    assert await who_was_told(notify) == told


async def test_a_person_by_id_and_an_in_app_channel_without_a_name(notify: Notify, sales: Sales) -> None:
    channel = (await notify.client().post("/notify/v1/channels", json={"kind": "in_app"})).json()
    await notify.make_rule(channels=[channel["id"]])
    await notify.make_rule(to={"person_id": str(sales.will)})
    await notify.hear_news(moved(WON, version=1, owner=str(sales.zhang)))
    assert await who_was_told(notify) == ["will", "zhang"]


async def test_the_manager_of_a_lead_is_the_next_one_above(notify: Notify, sales: Sales) -> None:
    await notify.make_rule(to="manager")
    await notify.hear_news(moved(WON, version=1, owner=str(sales.eve)))
    assert await who_was_told(notify) == ["boss"]


@pytest.mark.parametrize(("scope", "to", "told"), [
    ("person:zhang", "owner", ["zhang"]), ("person:zhang", "manager", ["eve"]),
    ("team:east", "manager", ["eve"]), ("team:east", "owner", ["eve"]), ("org", "manager", []),
])  # fmt: skip
async def test_whom_a_rule_tells_of_a_value(notify: Notify, sales: Sales, scope: str, to: str, told: list[str]) -> None:
    when = {"kpi": "win_rate", "scope": scope, "grain": "month", "op": "lt", "threshold": "0.20"}
    rule = await notify.make_rule(when=when, to=to)
    await notify.hear(value("0.10", 1, scope=rule["when"]["scope"], recorded_at=notify.clock()))
    assert len(await notify.alerts()) == 1
    assert await who_was_told(notify) == told


async def test_items_are_read_once_and_counted_by_the_server(notify: Notify, sales: Sales) -> None:
    await notify.make_rule(to="owner", severity="info")
    await notify.hear_news(*(moved(WON, version=1, owner=str(sales.zhang)) for _ in range(3)))
    await notify.send_all()
    page = await inbox_of(notify, "zhang", limit="2")
    assert (page["unread"], len(page["items"])) == (3, 2)
    rest = await inbox_of(notify, "zhang", limit="2", cursor=page["next_cursor"])
    assert (len(rest["items"]), rest["next_cursor"]) == (1, None)
    item = page["items"][0]
    assert (item["type"], item["severity"], item["read_at"]) == ("alert.fired", "info", None)
    path = f"/notify/v1/inbox/{item['id']}/reads"
    assert (await notify.client("rep", "wang").post(path)).status_code == 404
    first = await notify.client("rep", "zhang").post(path)
    assert (first.status_code, first.json()["unread"]) == (201, 2)
    assert (await notify.client("rep", str(sales.zhang)).post(path)).json()["read_at"] == first.json()["read_at"]
    assert (await inbox_of(notify, "zhang"))["unread"] == 2
    unread = await inbox_of(notify, "zhang", unread="true")
    assert item["id"] not in [one["id"] for one in unread["items"]]
    assert [one["id"] for one in (await inbox_of(notify, "zhang", unread="false"))["items"]] == [item["id"]]


async def test_the_end_of_an_alert_is_told_unless_somebody_took_it(notify: Notify, sales: Sales) -> None:
    when = {"kpi": "win_rate", "scope": "person:zhang", "grain": "month", "op": "lt", "threshold": "0.20"}
    rule = await notify.make_rule(when=when, to="owner")
    await notify.make_rule(to="owner")
    scope = rule["when"]["scope"]
    await notify.hear(value("0.10", 1, scope=scope, recorded_at=notify.clock()))
    await notify.send_all()
    await notify.hear(value("0.90", 2, scope=scope, recorded_at=notify.clock()))
    await notify.hear_news(moved(WON, version=1, owner=str(sales.zhang)))
    await notify.send_all()
    (firing,) = await notify.alerts(state="firing")
    rep = notify.client("rep", "zhang")
    await rep.post(f"/notify/v1/alerts/{firing['id']}/acknowledgements")
    await notify.send_all()
    assert [one["type"] for one in (await inbox_of(notify, "zhang"))["items"]] == [
        "alert.fired", "alert.resolved", "alert.fired",
    ]  # fmt: skip


async def test_who_sees_which_alert(notify: Notify, sales: Sales) -> None:
    await notify.make_rule(name="quiet")
    to_owner = await notify.make_rule(name="told", to="owner")
    await notify.hear_news(moved(WON, version=1, owner=str(sales.zhang)), moved(WON, version=1, owner=str(sales.wang)))
    await notify.send_all()
    sees: dict[tuple[str, str | None], int] = {
        ("admin", None): 4, ("manager", "boss"): 4, ("manager", "eve"): 2, ("manager", "will"): 2,
        ("rep", "zhang"): 1, ("rep", "nobody"): 0,
    }  # fmt: skip
    for (role, who), count in sees.items():
        items = (await notify.client(role, who).get("/notify/v1/alerts")).json()["items"]
        assert len(items) == count, (role, who)
        deliveries = (await notify.client(role, who).get("/notify/v1/deliveries")).json()["items"]
        assert len(deliveries) == {4: 2, 2: 1, 1: 1, 0: 0}[count], (role, who)
    (mine,) = (await notify.client("rep", "zhang").get("/notify/v1/alerts")).json()["items"]
    assert mine["rule"]["id"] == to_owner["id"]
    for path in (f"/notify/v1/alerts/{mine['id']}", f"/notify/v1/alerts/{uuid4()}"):
        assert (await notify.client("rep", "wang").get(path)).status_code == 404
    taken = await notify.client("rep", "wang").post(f"/notify/v1/alerts/{mine['id']}/acknowledgements")
    assert taken.status_code == 404
    assert (await notify.client("manager", "eve").get(f"/notify/v1/alerts/{mine['id']}")).status_code == 200


async def test_filters_and_pages_of_alerts(notify: Notify, sales: Sales) -> None:
    first = await notify.make_rule(severity="info")
    await notify.make_rule(severity="critical")
    await notify.hear_news(moved(WON, version=1), moved(WON, version=1))
    assert len(await notify.alerts(rule_id=first["id"])) == 2
    assert len(await notify.alerts(severity="critical", state="firing")) == 2
    assert await notify.alerts(state="resolved") == []
    assert len(await notify.alerts(correlation_id="request-1")) == 4
    client = notify.client()
    assert (await client.get("/notify/v1/alerts?state=pending&colour=red")).status_code == 422
    page = (await client.get("/notify/v1/alerts?limit=3")).json()
    rest = (await client.get("/notify/v1/alerts", params={"limit": "3", "cursor": page["next_cursor"]})).json()
    ids = [UUID(one["id"]) for one in [*page["items"], *rest["items"]]]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 4


async def test_a_stream_tells_new_items_and_the_count(notify: Notify, sales: Sales) -> None:
    await notify.make_rule(to="owner")
    zhang, wang = str(sales.zhang), str(sales.wang)
    for owner in (zhang, wang):
        await notify.hear_news(moved(WON, version=1, owner=owner))
        await notify.send_all()
    ticket = (await notify.client("rep", "zhang").post("/notify/v1/stream-tickets")).json()["ticket"]
    async with serving(notify.service.app) as base:
        url = f"{base}/notify/v1/stream?ticket={ticket}&last_event_id=0"
        async with listening(url, {}) as stream:
            first = await stream.event()
            await notify.hear_news(moved(WON, version=1, owner=wang))
            await notify.hear_news(moved(WON, version=1, owner=zhang))
            await notify.send_all()
            second = await stream.event()
    told = [json.loads(event.data or "") for event in (first, second)]
    assert [(one["recipient"], one["unread"], one["type"]) for one in told] == [
        (zhang, 1, "alert.fired"), (zhang, 2, "alert.fired"),
    ]  # fmt: skip
    assert [event.event for event in (first, second)] == ["inbox_item", "inbox_item"]
