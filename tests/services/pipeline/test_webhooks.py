"""Sources and inbound webhooks over HTTP on a real database."""

import asyncio
import json
from base64 import b64encode
from datetime import timedelta
from typing import Any

import pytest

from services.pipeline.crm.standard_webhooks import sign
from shared.clock import rfc3339
from shared.events.pipeline import CustomerCreated, DealChanged, DealCourseCorrected, DealCreated, DealMoved
from shared.http_client import Answer
from tests.services.pipeline.building import NOW
from tests.services.pipeline.importing import poison, processed
from tests.services.pipeline.serving import Pipeline, person_id

SECRET = "whsec_" + b64encode(bytes(range(32))).decode()
OTHER_SECRET = "whsec_" + b64encode(bytes(range(32, 64))).decode()
SOURCE = {"kind": "standard-webhooks", "secret": SECRET, "mapping": {"process": "field-sales"}}


@pytest.fixture
async def crm(field_sales: Pipeline) -> Pipeline:
    await field_sales.ok("PUT", "/sources/crm", SOURCE, 201)
    return field_sales


def told(kind: str = "deal.updated", minutes: float = 0, **data: Any) -> bytes:
    at = rfc3339(NOW + timedelta(minutes=minutes))
    return json.dumps({"type": kind, "timestamp": at, "data": {"external_id": "W1", **data}}).encode()


async def send(
    pipeline: Pipeline, body: bytes, message_id: str, *, source: str = "crm", secret: str = SECRET, **headers: str
) -> Answer:
    seconds = str(int(pipeline.clock().timestamp()))
    signed = {
        "webhook-id": message_id,
        "webhook-timestamp": seconds,
        "webhook-signature": sign(secret, message_id, seconds, body),
        "content-type": "application/json",
    }
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return await pipeline.client.request(
        "POST", f"/pipeline/v1/webhooks/{source}", headers={**signed, **names}, body=body
    )


async def deliver(pipeline: Pipeline, body: bytes, message_id: str, **options: str) -> Any:
    """Send, process, and return the webhook as an administrator sees it."""
    answer = await send(pipeline, body, message_id, **options)
    assert answer.status == 202, answer.body
    await processed(pipeline)
    return await pipeline.ok("GET", f"/webhooks/{json.loads(answer.body)['id']}", headers={"accept-language": "en"})


async def the_deal(pipeline: Pipeline) -> Any:
    (deal,) = (await pipeline.ok("GET", "/deals"))["items"]
    return deal


async def test_a_body_creates_the_deal_and_later_ones_move_and_change_it(crm: Pipeline):
    await crm.sent()
    webhook = await deliver(
        crm,
        told(
            "deal.created",
            stage="visit",
            name="Pumps",
            owner="ann",
            amount={"amount": "1200.50", "currency": "CNY"},
            customer={"external_id": "acme", "name": "Acme"},
            fields={"budget": "yes", "score": 7},
        ),
        "m1",
    )
    deal = await the_deal(crm)
    assert (webhook["status"], webhook["deal_id"], webhook["reasons"]) == ("processed", deal["id"], [])
    assert (deal["name"], deal["stage"]["code"], deal["source"]) == ("Pumps", "visit", "crm")
    assert deal["stage_entered_at"] == rfc3339(NOW)
    assert deal["owner"]["person_id"] == str(person_id("ann"))
    assert deal["amount"] == {"amount": "1200.50", "currency": "CNY"}
    assert deal["fields"] == {"budget": "yes", "score": 7}
    assert [type(event) for event in await crm.announced()] == [CustomerCreated, DealCreated]
    crm.clock.advance(minutes=40)
    await deliver(crm, told("deal.moved", 30, stage="offer", amount={"amount": 99, "currency": "CNY"}), "m2")
    deal = await the_deal(crm)
    assert (deal["stage"]["code"], deal["stage_entered_at"]) == ("offer", rfc3339(NOW + timedelta(minutes=30)))
    assert (deal["amount"]["amount"], deal["name"]) == ("99.00", "Pumps")
    changed, moved = await crm.announced()
    assert isinstance(changed, DealChanged)
    assert isinstance(moved, DealMoved)
    # What already happened is recorded, and flagged with what it broke.
    assert (moved.broke, moved.overridden) == (("tasks_done:call",), False)


async def test_the_events_of_a_webhook_carry_its_correlation_id(crm: Pipeline):
    await crm.sent()
    await deliver(crm, told(stage="visit"), "m1", x_request_id="from-crm-1")
    (message,) = await crm.sent()
    assert message.headers["ce_correlationid"] == "from-crm-1"


async def test_the_same_message_is_answered_with_the_same_id_and_done_once(crm: Pipeline):
    first = await deliver(crm, told(stage="visit"), "m1")
    await crm.sent()
    again = await send(crm, told(stage="visit"), "m1")
    assert (again.status, json.loads(again.body)) == (202, {"id": first["id"], "status": "processed"})
    at_once = await asyncio.gather(*(send(crm, told(stage="visit", minutes=1), "m2") for _ in range(8)))
    assert len({json.loads(answer.body)["id"] for answer in at_once}) == 1
    await processed(crm)
    assert await crm.announced() == []
    assert len((await crm.ok("GET", "/webhooks?source=crm"))["items"]) == 2


async def test_only_a_good_signature_is_heard(crm: Pipeline):
    for headers in (
        {"webhook_signature": "v1,AAAA"},
        {"webhook_id": "another"},
        {"webhook_timestamp": str(int(NOW.timestamp()) - 400)},
    ):
        answer = await send(crm, told(stage="visit"), "m1", **headers)
        problem = json.loads(answer.body)
        assert (answer.status, problem["code"]) == (401, "signature_invalid")
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await send(crm, told(), "m1", secret=OTHER_SECRET)).status == 401
    assert (await send(crm, told(), "m1", source="nobody")).status == 404
    assert (await send(crm, b" " * (1024 * 1024 + 1), "m1")).status == 413
    assert (await crm.ok("GET", "/webhooks"))["items"] == []


async def test_secrets_rotate_without_a_gap(crm: Pipeline):
    put = {"headers": {"if-match": "*"}}
    await crm.ok("PUT", "/sources/crm", {**SOURCE, "secrets": [OTHER_SECRET]}, 200, **put)
    for secret, message_id in ((SECRET, "m1"), (OTHER_SECRET, "m2")):
        assert (await send(crm, told(stage="visit"), message_id, secret=secret)).status == 202
    await crm.ok("PUT", "/sources/crm", {**SOURCE, "secret": OTHER_SECRET}, 200, **put)
    assert (await send(crm, told(), "m3", secret=SECRET)).status == 401


@pytest.mark.parametrize(
    ("body", "code", "where"),
    [
        (b'{"type": ', "not_an_object", None),
        (b"\xff\xfe", "not_an_object", None),
        (told("deal.eaten"), "unknown_event_type", "type"),
        (told(stage="nowhere"), "unknown_stage", "data.stage"),
        (told(external_id=""), "missing_value", "data.external_id"),
        (told(process="nothing"), None, None),
        (told(stage="visit", amount={"amount": "much", "currency": "CNY"}), "not_a_number", "data.amount.amount"),
        (told(stage="visit", minutes=60), "in_the_future", "occurred_at"),
        (told(stage="visit", occurred_at="soon"), "not_a_date", "occurred_at"),
        (told(stage="visit", owner={"person_id": "17"}), "not_an_id", "data.owner.person_id"),
        (told(stage="visit", name="a\u0000b"), "forbidden_character", "data.name"),
    ],
)
async def test_what_cannot_be_processed_waits_in_quarantine_with_its_reason(
    crm: Pipeline, body: bytes, code: str | None, where: str | None
):
    webhook = await deliver(crm, body, "m1")
    wanted = "processed" if code is None else "quarantined"
    assert webhook["status"] == wanted
    assert [(reason["code"], reason["where"]) for reason in webhook["reasons"]] == ([(code, where)] if code else [])
    assert all(reason["detail"] for reason in webhook["reasons"])
    assert [each["id"] for each in (await crm.ok("GET", f"/webhooks?status={wanted}"))["items"]] == [webhook["id"]]
    if code == "not_an_object" and body[0] == 0xFF:
        assert (webhook["body"], webhook["body_encoding"]) == (b64encode(body).decode(), "base64")
    else:
        assert (webhook["body"], webhook["body_encoding"]) == (body.decode(), "utf-8")


async def test_a_bad_message_holds_up_nobody(crm: Pipeline):
    for number, body in enumerate(
        [told(stage="visit"), b"{", told(stage="nowhere"), told("deal.moved", 4, stage="offer")]
    ):
        assert (await send(crm, body, f"m{number}")).status == 202
    await processed(crm)
    assert (await the_deal(crm))["stage"]["code"] == "offer"
    statuses = [each["status"] for each in (await crm.ok("GET", "/webhooks"))["items"]]
    assert statuses == ["processed", "quarantined", "quarantined", "processed"]


async def test_a_message_that_the_database_does_not_take_goes_into_quarantine_alone(crm: Pipeline):
    await poison(crm, "P1")
    for number, name in enumerate(("A1", "P1", "B1")):
        assert (await send(crm, told(stage="visit", external_id=name), f"m{number}")).status == 202
    await processed(crm)
    found = (await crm.ok("GET", "/webhooks"))["items"]
    assert [each["status"] for each in found] == ["processed", "quarantined", "processed"]
    assert [reason["code"] for reason in found[1]["reasons"]] == ["not_recorded"]


async def test_the_mapping_is_corrected_and_the_quarantined_message_replayed(crm: Pipeline):
    webhook = await deliver(crm, told(stage="Angebot", name="Pumps"), "m1")
    assert webhook["reasons"][0]["detail"] == "The process has no stage 'Angebot'"
    mapping = {"process": "field-sales", "current_stage": {"column": "data.stage", "values": {"Angebot": "offer"}}}
    await crm.ok("PUT", "/sources/crm", {"mapping": mapping}, 200, headers={"if-match": '"1"'})
    replayed = await crm.ok("POST", f"/webhooks/{webhook['id']}/replay", status=202)
    assert replayed == {"id": webhook["id"], "status": "received"}
    await processed(crm)
    assert (await crm.ok("GET", f"/webhooks/{webhook['id']}"))["status"] == "processed"
    deal = await the_deal(crm)
    assert (deal["stage"]["code"], deal["name"], deal["stage_entered_at"]) == ("offer", "Pumps", rfc3339(NOW))


async def test_to_replay_what_was_processed_changes_nothing_even_after_newer_news(crm: Pipeline):
    first = await deliver(crm, told(stage="visit", name="Pumps"), "m1")
    await deliver(crm, told("deal.moved", 2, stage="offer", name="Big pumps"), "m2")
    before = await the_deal(crm)
    await crm.sent()
    await crm.ok("POST", f"/webhooks/{first['id']}/replay", status=202)
    await processed(crm)
    assert await crm.announced() == []
    assert await the_deal(crm) == before


async def test_a_late_message_never_moves_a_deal_back_nor_overwrites_newer_values(crm: Pipeline):
    await deliver(crm, told("deal.created", 0, stage="visit", name="Pumps"), "m1")
    await deliver(crm, told("deal.moved", 3, stage="signing", name="Newest"), "m3")
    await crm.sent()
    await deliver(crm, told("deal.moved", 2, stage="offer", name="Older"), "m2")
    deal = await the_deal(crm)
    assert (deal["stage"]["code"], deal["name"]) == ("signing", "Newest")
    assert deal["stage_entered_at"] == rfc3339(NOW + timedelta(minutes=3))
    (corrected,) = await crm.announced()
    assert isinstance(corrected, DealCourseCorrected)
    assert [entry.stage.code for entry in corrected.course] == ["visit", "offer", "signing"]


async def test_messages_of_one_deal_are_processed_in_the_order_of_their_arrival(crm: Pipeline):
    stages = ["visit", "offer", "signing", "offer", "closed", "visit", "dropped"]
    for number, stage in enumerate(stages):
        assert (
            await send(crm, told("deal.moved", number / 10, stage=stage, lost_reason="price"), f"m{number}")
        ).status == 202
    await processed(crm)
    deal = await the_deal(crm)
    history = await crm.ok("GET", f"/deals/{deal['id']}/history")
    assert (deal["stage"]["code"], deal["lost_reason"], deal["version"]) == ("dropped", "price", len(stages))
    assert len(history["items"]) == len(stages)


async def test_a_message_without_a_time_happened_when_it_was_received(crm: Pipeline):
    body = json.dumps({"type": "deal.created", "data": {"external_id": "W1", "stage": "visit"}}).encode()
    webhook = await deliver(crm, body, "m1")
    assert (await the_deal(crm))["stage_entered_at"] == webhook["occurred_at"] == webhook["received_at"]


async def test_deals_of_two_sources_are_different_deals(crm: Pipeline):
    await crm.ok("PUT", "/sources/other", {**SOURCE, "secret": OTHER_SECRET}, 201)
    await deliver(crm, told(stage="visit"), "m1")
    await deliver(crm, told(stage="offer"), "m1", source="other", secret=OTHER_SECRET)
    deals = (await crm.ok("GET", "/deals"))["items"]
    assert {(deal["source"], deal["stage"]["code"]) for deal in deals} == {("crm", "visit"), ("other", "offer")}


async def test_a_paused_source_receives_and_waits(crm: Pipeline):
    await crm.ok("PUT", "/sources/crm", {**SOURCE, "mode": "paused"}, 200, headers={"if-match": "*"})
    webhook = await deliver(crm, told(stage="visit"), "m1")
    assert webhook["status"] == "received"
    await crm.ok("PUT", "/sources/crm", SOURCE, 200, headers={"if-match": "*"})
    await processed(crm)
    assert (await the_deal(crm))["stage"]["code"] == "visit"


async def test_bodies_expire_and_cannot_be_replayed_then(crm: Pipeline):
    webhook = await deliver(crm, b"{", "m1")
    crm.clock.advance(days=31)
    await crm.run_job("expiry")
    found = await crm.ok("GET", f"/webhooks/{webhook['id']}")
    assert (found["body"], found["status"]) == (None, "quarantined")
    problem = await crm.problem("POST", f"/webhooks/{webhook['id']}/replay", status=409)
    assert problem["code"] == "body_expired"


async def test_a_worker_that_is_killed_loses_and_repeats_nothing(crm: Pipeline):
    for number in range(60):
        body = told(stage="visit", external_id=f"K{number}")
        assert (await send(crm, body, f"k{number}")).status == 202
    [loop] = [loop for loop in crm.service.loops if loop.name == "webhooks"]
    for delay in (0.01, 0.02, 0.04, 0.08):
        worker = asyncio.create_task(loop.run())
        await asyncio.sleep(delay)
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
    await processed(crm)
    (row,) = await crm.rows("SELECT count(*) AS deals, sum(version) AS versions FROM deal")
    assert (row.deals, row.versions) == (60, 60)


async def test_sources_are_written_by_administrators_and_tell_no_secret(crm: Pipeline):
    answer = await crm.call("GET", "/sources/crm")
    source = json.loads(answer.body)
    assert (source["kind"], source["mode"], source["secrets_set"], source["version"]) == (
        "standard-webhooks",
        "record",
        1,
        1,
    )
    assert SECRET.encode() not in answer.body
    assert answer.headers["etag"] == '"1"'
    assert (await crm.call("PUT", "/sources/crm", SOURCE, role="manager", person="rita")).status == 403
    assert (await crm.call("GET", "/webhooks", role="rep", person="ann")).status == 403
    await crm.problem("PUT", "/sources/crm", SOURCE, 428)
    await crm.problem("PUT", "/sources/crm", SOURCE, 412, headers={"if-match": '"9"'})
    same = await crm.ok("PUT", "/sources/crm", SOURCE, 200, headers={"if-match": '"1"'})
    assert same["version"] == 1
    kept = await crm.ok("PUT", "/sources/crm", {"mode": "paused", "mapping": {}}, 200, headers={"if-match": '"1"'})
    assert (kept["version"], kept["mode"], kept["secrets_set"]) == (2, "paused", 1)
    await crm.problem("GET", "/sources/nobody", status=404)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"secret": None}, ("/secret", "missing_value")),
        ({"secret": "short"}, ("/secret", "not_a_secret")),
        ({"mapping": {"process": "nowhere"}}, ("/mapping/process", "unknown_process")),
        ({"mapping": {"source": "x"}}, ("/mapping/source", "unknown_field")),
        ({"mapping": {"owner": 5}}, ("/mapping/owner", "wrong_mapping")),
        ({"mode": "asleep"}, ("/mode", None)),
        ({"colour": "red"}, ("/colour", None)),
    ],
)
async def test_a_source_that_cannot_work_is_refused(
    crm: Pipeline, change: dict[str, Any], error: tuple[str, str | None]
):
    problem = await crm.problem("PUT", "/sources/new", {**SOURCE, **change})
    pointer, code = error
    assert [each["pointer"] for each in problem["errors"]] == [pointer]
    assert code in (None, problem["errors"][0]["code"])


async def test_the_list_is_paged_and_filtered(crm: Pipeline):
    for number in range(5):
        await deliver(crm, told(stage="visit") if number % 2 else b"{", f"m{number}")
    page = await crm.ok("GET", "/webhooks?source=crm&status=quarantined&limit=2")
    rest = await crm.ok("GET", f"/webhooks?source=crm&status=quarantined&limit=2&cursor={page['next_cursor']}")
    assert [each["message_id"] for each in (*page["items"], *rest["items"])] == ["m4", "m2", "m0"]
    assert (await crm.ok("GET", "/webhooks?source=other"))["items"] == []


async def test_the_document_tells_senders_how_to_send(crm: Pipeline):
    document = json.loads((await crm.client.request("GET", "/pipeline/openapi.json")).body)
    operation = document["paths"]["/pipeline/v1/webhooks/{source}"]["post"]
    assert operation["security"] == []
    assert {each["name"] for each in operation["parameters"]} == {
        "source",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    }
    assert operation["requestBody"]["content"]["application/json"]["example"]["data"]["external_id"]
    assert set(operation["responses"]) >= {"202"}
