"""Channels over HTTP: secrets that never come out, and targets that lead inside."""

import socket
from collections.abc import Callable
from typing import Any

import pytest

from services.notify.channels import REGISTRY
from services.notify.use_cases.channels import new_secret
from tests.services.notify.conftest import Notify


async def test_a_made_secret_is_shown_once_and_a_given_one_never(notify: Notify) -> None:
    client = notify.client()
    made = await client.post("/notify/v1/channels", json={"kind": "webhook", "url": "http://127.0.0.1:9/a"})
    assert made.json()["secret"].startswith("whsec_")
    given = new_secret()
    told = {"kind": "webhook", "name": "CRM", "url": "http://127.0.0.1:9/b", "secret": given}
    second = await client.post("/notify/v1/channels", json=told)
    assert second.json()["secret"] is None
    path = made.headers["location"]
    for answer in (await client.get(path), await client.get("/notify/v1/channels")):
        assert "secret" not in answer.text
        assert given not in answer.text
    assert (await client.get(path)).headers["etag"] == made.headers["etag"]


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({}, {"/kind": "required"}),
        ({"kind": "pigeon", "colour": 1}, {"/kind": "not_allowed", "/colour": "unknown_field"}),
        ({"kind": "webhook"}, {"/url": "required"}),
        ({"kind": "webhook", "url": "ftp://a.example", "secret": "x"}, {"/url": "invalid_url", "/secret": "invalid_secret"}),
        ({"kind": "webhook", "url": "http://a.example", "secret": "whsec_c2hvcnQ="}, {"/secret": "invalid_secret"}),
        ({"kind": "in_app", "url": "http://a.example", "secret": "x"}, {"/url": "not_allowed", "/secret": "not_allowed"}),
    ],
)  # fmt: skip
async def test_everything_wrong_with_a_channel(notify: Notify, body: dict[str, Any], errors: dict[str, str]) -> None:
    answer = await notify.client().post("/notify/v1/channels", json=body)
    assert answer.status_code == 422, answer.text
    assert {error["pointer"]: error["code"] for error in answer.json()["errors"]} == errors


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "https://localhost:8443/x", "http://10.0.0.5/", "http://192.168.0.10:8080/",
        "http://169.254.169.254/latest/meta-data/", "http://metadata.google.internal/", "http://[::1]/",
        "http://[::ffff:127.0.0.1]/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://127.1/",
        "http://0.0.0.0/", "http://224.0.0.1/", "http://pipeline:8080/", "http://[fd00::1]/", "http://[64:ff9b::7f00:1]/",
    ],
)  # fmt: skip
async def test_targets_inside_are_refused(make_notify: Callable[..., Notify], url: str) -> None:
    notify = make_notify(webhook_allow_private=False)
    answer = await notify.client().post("/notify/v1/channels", json={"kind": "webhook", "url": url})
    assert answer.status_code == 422
    assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [("/url", "target_refused")]


async def test_a_name_that_points_inside_is_refused_and_a_public_address_is_not(
    make_notify: Callable[..., Notify], monkeypatch: pytest.MonkeyPatch
) -> None:
    notify = make_notify(webhook_allow_private=False)
    zone = {"inside.example": ["10.0.0.1"], "both.example": ["8.8.8.8", "127.0.0.1"], "outside.example": ["8.8.8.8"]}

    def resolve(host: str, port: int, *args: Any, **named: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in zone[host]]

    # The name service is the world's, not ours.
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    made = {
        host: (await notify.client().post("/notify/v1/channels", json={"kind": "webhook", "url": f"https://{host}/x"}))
        for host in zone
    }
    assert {host: answer.status_code for host, answer in made.items()} == {
        "inside.example": 422, "both.example": 422, "outside.example": 201,
    }  # fmt: skip
    path = made["outside.example"].headers["location"]
    moved = await notify.client().patch(path, json={"url": "https://inside.example/"}, headers={"if-match": "*"})
    assert moved.status_code == 422


async def test_changing_and_removing_a_channel(notify: Notify) -> None:
    client = notify.client()
    channel = await notify.make_channel("http://127.0.0.1:9/a")
    path = f"/notify/v1/channels/{channel['id']}"
    assert (await client.patch(path, json={"enabled": False})).status_code == 428
    off = await client.patch(path, json={"enabled": False, "name": "Off"}, headers={"if-match": '"1"'})
    assert (off.json()["enabled"], off.json()["name"], off.headers["etag"]) == (False, "Off", '"2"')
    rule = await notify.make_rule(channels=[channel["id"]])
    kept = await client.delete(path, headers={"if-match": "*"})
    assert (kept.status_code, kept.json()["code"], kept.json()["rules"]) == (409, "channel_in_use", [rule["id"]])
    await client.delete(f"/notify/v1/rules/{rule['id']}", headers={"if-match": "*"})
    assert (await client.delete(path, headers={"if-match": "*"})).status_code == 204
    assert (await client.get(path)).status_code == 404


async def test_a_manager_uses_all_channels_and_changes_the_own_ones(notify: Notify) -> None:
    theirs = await notify.make_channel("http://127.0.0.1:9/a")
    manager = notify.client("manager", "lead")
    mine = (await manager.post("/notify/v1/channels", json={"kind": "in_app"})).json()
    assert {one["id"] for one in (await manager.get("/notify/v1/channels")).json()["items"]} == {
        mine["id"],
        theirs["id"],
    }
    headers = {"if-match": "*"}
    assert (await manager.delete(f"/notify/v1/channels/{theirs['id']}", headers=headers)).status_code == 403
    assert (await manager.patch(f"/notify/v1/channels/{theirs['id']}", json={}, headers=headers)).status_code == 403
    assert (await manager.delete(f"/notify/v1/channels/{mine['id']}", headers=headers)).status_code == 204


def test_every_kind_has_its_adapter() -> None:
    assert set(REGISTRY) == {"webhook", "in_app"}
