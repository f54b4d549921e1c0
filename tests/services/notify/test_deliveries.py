"""Deliveries to a real receiver: signed, retried under one id, given up, taken over from a killed sender."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from standardwebhooks import WebhookVerificationError

from services.notify.store import deliveries as delivery_store
from services.notify.use_cases.channels import new_secret
from tests.services.notify.building import WON, message, moved, value
from tests.services.notify.conftest import Notify
from tests.services.notify.receiver import Answer, Receiver, receiving

KPI: dict[str, Any] = {"kpi": "win_rate", "scope": "org", "grain": "month", "op": "lt", "threshold": "0.20"}
IMPATIENT = {"delivery_base": timedelta(milliseconds=20), "delivery_cap": timedelta(milliseconds=40)}


async def fired(notify: Notify, receiver: Receiver, **said: Any) -> tuple[dict[str, Any], str]:
    """Make a channel and a rule on it, let a deal be won, and return the alert and the channel's secret."""
    channel = await notify.make_channel(receiver.url, **said)
    await notify.make_rule(channels=[channel["id"]], name={"zh": "大单", "en": "Large deal"}, severity="info")
    now = notify.clock()
    await notify.hear(message(moved(WON, version=1, occurred_at=now, recorded_at=now), "move-42"))
    (alert,) = await notify.alerts()
    return alert, channel["secret"] or said["secret"]


async def test_an_alert_is_delivered_signed(notify: Notify, receiver: Receiver) -> None:
    alert, secret = await fired(notify, receiver)
    assert await notify.send_all() == 1
    (request,) = receiver.requests
    assert (request.method, request.path) == ("POST", "/hooks/sales?team=east")
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["content-type"] == "application/json"
    document = request.verified(secret)
    with pytest.raises(WebhookVerificationError):
        request.verified(new_secret())
    assert document["type"] == "alert.fired"
    data: Any = document["data"]
    assert (data["alert_id"], data["correlation_id"], data["severity"]) == (alert["id"], "move-42", "info")
    assert data["rule"] == {"id": alert["rule"]["id"], "name": {"zh": "大单", "en": "Large deal"}}
    assert data["subject"] == alert["subject"]
    assert (data["title"], data["text"]) == (alert["title"], alert["text"])
    (delivery,) = await notify.deliveries(alert_id=alert["id"])
    assert (delivery["state"], delivery["webhook_id"]) == ("sent", request.headers["webhook-id"])
    assert [(one["status"], one["error"]) for one in delivery["attempts"]] == [(204, None)]
    assert await notify.send_all() == 0


async def test_a_secret_of_the_callers_own_is_used(notify: Notify, receiver: Receiver) -> None:
    secret = new_secret()
    _, used = await fired(notify, receiver, secret=secret)
    await notify.send_all()
    assert used == secret
    assert receiver.requests[0].verified(secret)["type"] == "alert.fired"


async def test_it_is_tried_again_under_the_same_id_until_it_works(
    make_notify: Callable[..., Notify], receiver: Receiver
) -> None:
    notify = make_notify(**IMPATIENT, delivery_timeout=timedelta(milliseconds=200))
    receiver.script.extend([Answer(500), Answer(302, {"location": "/elsewhere"}), Answer(200, hang=1), Answer(404)])
    alert, secret = await fired(notify, receiver)
    async with notify.sending():
        requests = await receiver.wait_for(5)
        await eventually(lambda: state_is(notify, "sent"))
    assert len({request.headers["webhook-id"] for request in requests}) == 1
    assert {request.path for request in requests} == {"/hooks/sales?team=east"}
    for request in requests:
        request.verified(secret)
    (delivery,) = await notify.deliveries(alert_id=alert["id"])
    assert [one["status"] for one in delivery["attempts"]] == [500, 302, None, 404, 204]
    assert delivery["attempts"][2]["error"]


async def test_a_dead_delivery_is_put_back_by_hand(make_notify: Callable[..., Notify], receiver: Receiver) -> None:
    notify = make_notify(delivery_base=timedelta(), delivery_attempts=3)
    receiver.script.extend([Answer(500)] * 3)
    await fired(notify, receiver)
    assert await notify.send_all() == 3
    (dead,) = await notify.deliveries(state="dead")
    assert (len(dead["attempts"]), dead["next_attempt_at"]) == (3, None)
    path = f"/notify/v1/deliveries/{dead['id']}/retries"
    assert (await notify.client("rep", "zhang").post(path)).status_code == 403
    assert (await notify.client("manager", "stranger").post(path)).status_code == 404
    answer = await notify.client().post(path)
    assert (answer.status_code, answer.json()["state"]) == (202, "pending")
    assert await notify.send_all() == 1
    (sent,) = await notify.deliveries()
    assert (sent["state"], len(sent["attempts"]), sent["webhook_id"]) == ("sent", 4, dead["webhook_id"])
    assert (await notify.client().post(path)).status_code == 409
    read = await notify.client().get(f"/notify/v1/deliveries/{dead['id']}")
    assert read.json() == sent


async def test_nobody_listening_is_a_failure_that_is_tried_again(notify: Notify, receiver: Receiver) -> None:
    async with receiving() as gone:
        pass
    await fired(notify, gone)
    await notify.send_all()
    (delivery,) = await notify.deliveries()
    assert delivery["state"] in ("failed", "pending")
    assert delivery["attempts"][0]["status"] is None
    assert delivery["attempts"][0]["error"]


async def test_a_target_that_is_gone_switches_its_channel_off(notify: Notify, receiver: Receiver) -> None:
    receiver.script.append(Answer(410))
    await fired(notify, receiver)
    await notify.send_all()
    (delivery,) = await notify.deliveries()
    assert (delivery["state"], delivery["attempts"][0]["status"]) == ("dead", 410)
    (channel,) = (await notify.client().get("/notify/v1/channels")).json()["items"]
    assert (channel["enabled"], channel["disabled_reason"]) == (False, "the target is gone")
    await notify.hear_news(moved(WON, version=1))
    assert len(await notify.alerts()) == 2
    assert len(await notify.deliveries()) == 1
    path = f"/notify/v1/channels/{channel['id']}"
    back = await notify.client().patch(path, json={"enabled": True}, headers={"if-match": "*"})
    assert (back.json()["enabled"], back.json()["disabled_reason"]) == (True, None)
    await notify.hear_news(moved(WON, version=1))
    await notify.send_all()
    assert len(receiver.requests) == 2


async def test_a_busy_target_is_left_alone_as_long_as_it_says(notify: Notify, receiver: Receiver) -> None:
    receiver.script.extend([Answer(429, {"retry-after": "120"}), Answer(503, {"retry-after": http_date(notify, 600)})])
    await fired(notify, receiver)
    await notify.send_all()
    notify.clock.advance(seconds=119)
    assert await notify.send_all() == 0
    notify.clock.advance(seconds=2)
    assert await notify.send_all() == 1
    (delivery,) = await notify.deliveries()
    assert [one["status"] for one in delivery["attempts"]] == [429, 503]
    notify.clock.advance(seconds=400)
    assert await notify.send_all() == 0
    notify.clock.advance(seconds=100)
    assert await notify.send_all() == 1


def http_date(notify: Notify, seconds: int) -> str:
    return (notify.clock() + timedelta(seconds=seconds)).strftime("%a, %d %b %Y %H:%M:%S GMT")


async def test_what_a_killed_sender_held_is_sent_by_the_next_one(notify: Notify, receiver: Receiver) -> None:
    receiver.script.append(Answer(200, hang=30))
    await fired(notify, receiver)
    killed = asyncio.create_task(notify.sender().send_due())
    await receiver.wait_for(1)
    killed.cancel()
    await asyncio.wait({killed})
    other = notify.sender()
    assert await other.send_due() == 0
    notify.clock.advance(seconds=31)
    assert await other.send_due() == 1
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    (delivery,) = await notify.deliveries()
    assert (delivery["state"], len(delivery["attempts"])) == ("sent", 1)


async def test_a_late_failure_of_a_lost_lease_undoes_nothing(notify: Notify, receiver: Receiver) -> None:
    receiver.script.extend([Answer(500, hang=0.5), Answer(200)])
    await fired(notify, receiver)
    slow = asyncio.create_task(notify.sender().send_due())
    await receiver.wait_for(1)
    notify.clock.advance(seconds=31)
    assert await notify.sender().send_due() == 1
    await slow
    (delivery,) = await notify.deliveries()
    assert delivery["state"] == "sent"
    assert [one["status"] for one in delivery["attempts"]] == [200, 500]
    notify.clock.advance(hours=1)
    assert await notify.send_all() == 0


async def test_many_senders_send_everything_once(notify: Notify, receiver: Receiver) -> None:
    channel = await notify.make_channel(receiver.url)
    await notify.make_rule(channels=[channel["id"]])
    await notify.hear_news(*(moved(WON, version=1) for _ in range(60)))
    # The first ones are on their way for a while: the others look for work meanwhile.
    receiver.script.extend(Answer(hang=0.3) for _ in range(4))
    first = asyncio.create_task(notify.send_all())
    await receiver.wait_for(1)
    await asyncio.gather(first, *(notify.send_all() for _ in range(3)))
    assert len(receiver.requests) == 60
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 60
    assert {one["state"] for one in await notify.deliveries(limit="200")} == {"sent"}


async def test_a_hanging_target_holds_up_nobody_else(make_notify: Callable[..., Notify], receiver: Receiver) -> None:
    notify = make_notify(delivery_at_once=6, delivery_at_once_per_target=2)
    async with receiving() as hanging:
        hanging.script.extend([Answer(200, hang=20)] * 20)
        slow, quick = await notify.make_channel(hanging.url), await notify.make_channel(receiver.url)
        await notify.make_rule(channels=[slow["id"], quick["id"]])
        await notify.hear_news(*(moved(WON, version=1) for _ in range(10)))
        began = time.monotonic()
        async with notify.sending():
            await receiver.wait_for(10)
        assert time.monotonic() - began < 5
        assert len(hanging.requests) <= 4


async def test_the_resolution_goes_to_whom_the_firing_went_and_never_before_it(
    make_notify: Callable[..., Notify], receiver: Receiver
) -> None:
    notify = make_notify(delivery_base=timedelta(seconds=60))
    channel = await notify.make_channel(receiver.url)
    unused = await notify.make_channel(receiver.url)
    rule = await notify.make_rule(when=KPI, channels=[channel["id"]])
    receiver.script.append(Answer(500, {"retry-after": "60"}))
    await notify.hear(value("0.10", 1, recorded_at=notify.clock()))
    await notify.send_all()
    body = {"channels": [unused["id"]]}
    await notify.client().patch(f"/notify/v1/rules/{rule['id']}", json=body, headers={"if-match": "*"})
    await notify.hear(value("0.50", 2, recorded_at=notify.clock()))
    assert await notify.send_all() == 0
    notify.clock.advance(seconds=61)
    assert await notify.send_all() == 2
    types = [one.verified(channel["secret"])["type"] for one in receiver.requests]
    assert types == ["alert.fired", "alert.fired", "alert.resolved"]
    last: Any = receiver.requests[-1].verified(channel["secret"])["data"]
    assert (last["state"], last["resolved_value"], last["resolution"]) == ("resolved", "0.50", "recovered")
    again: Any = receiver.requests[-2].verified(channel["secret"])["data"]
    assert (again["state"], again["resolved_at"]) == ("firing", None)
    assert receiver.requests[1].headers["webhook-id"] != receiver.requests[2].headers["webhook-id"]


async def test_a_delivery_is_there_as_soon_as_its_alert(notify: Notify, receiver: Receiver) -> None:
    alert, _ = await fired(notify, receiver)
    (delivery,) = await notify.deliveries(alert_id=alert["id"], state="pending")
    assert delivery["attempts"] == []
    async with notify.database.transaction() as tx:
        assert len(await delivery_store.of_alerts(tx, [alert["id"]])) == 1


async def test_from_the_commit_to_the_receiver_it_takes_milliseconds(notify: Notify, receiver: Receiver) -> None:
    channel = await notify.make_channel(receiver.url)
    await notify.make_rule(channels=[channel["id"]])
    async with notify.sending():
        await notify.hear_news(moved(WON, version=1))
        await receiver.wait_for(1)
        took = []
        for count in range(2, 12):
            began = time.monotonic()
            await notify.hear_news(moved(WON, version=1))
            await receiver.wait_for(count)
            took.append(time.monotonic() - began)
    assert sorted(took)[5] < 0.25, took


async def test_a_target_that_has_become_private_is_not_called(
    make_notify: Callable[..., Notify], receiver: Receiver
) -> None:
    notify = make_notify()
    await fired(notify, receiver)
    strict = make_notify(webhook_allow_private=False)
    assert await notify.sender(like=strict).send_due() == 1
    (delivery,) = await notify.deliveries()
    assert delivery["state"] == "dead"
    assert "target_refused" in delivery["attempts"][0]["error"]
    assert receiver.requests == []


async def test_a_removed_channel_is_no_longer_sent_to(notify: Notify, receiver: Receiver) -> None:
    await fired(notify, receiver)
    async with notify.database.transaction() as tx:
        await tx.execute(text("DELETE FROM channel"))
    await notify.send_all()
    assert [one["state"] for one in await notify.deliveries()] == ["dead"]
    assert receiver.requests == []


async def state_is(notify: Notify, state: str) -> bool:
    return {one["state"] for one in await notify.deliveries()} == {state}


async def eventually(check: Callable[[], Any], patience: int = 250) -> None:
    for _ in range(patience):
        if await check():
            return
        await asyncio.sleep(0.02)
    pytest.fail("it did not come about")
