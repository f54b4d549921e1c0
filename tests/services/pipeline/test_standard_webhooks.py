"""Signatures of Standard Webhooks, against the specification's own vector and its reference library."""

from base64 import b64encode
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook as ReferenceSigner

from services.pipeline.crm.adapter import NotAuthentic
from services.pipeline.crm.standard_webhooks import StandardWebhooks, sign
from services.pipeline.domain.import_problems import Rejected

KIND = StandardWebhooks()
NOW = datetime(2021, 2, 25, 15, 2, 10, tzinfo=UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


def test_the_vector_of_the_specification() -> None:
    assert KIND.verify(HEADERS, BODY, [SECRET], NOW) == HEADERS["webhook-id"]
    assert sign(SECRET, HEADERS["webhook-id"], "1614265330", BODY) == HEADERS["webhook-signature"]


@given(st.binary(min_size=24, max_size=64), st.text(max_size=200), st.text("abc_123", min_size=1, max_size=30))
def test_what_the_reference_library_signs_is_authentic(key: bytes, body: str, message_id: str) -> None:
    secret = "whsec_" + b64encode(key).decode()
    told = {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(NOW.timestamp())),
        "webhook-signature": ReferenceSigner(secret).sign(message_id, NOW, body),
    }
    assert KIND.check_secret(secret)
    assert KIND.verify(told, body.encode(), [secret], NOW) == message_id


def test_any_signature_by_any_secret_will_do_while_secrets_rotate() -> None:
    other = "whsec_" + b64encode(bytes(range(32))).decode()
    told = {**HEADERS, "webhook-signature": f"v1a,xyz v1,AAAA {HEADERS['webhook-signature']}"}
    assert KIND.verify(told, BODY, [other, SECRET], NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OF="},
        {"webhook-signature": "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,é"},
        {"webhook-id": "msg_other"},
        {"webhook-id": ""},
        {"webhook-timestamp": "1614265331"},
        {"webhook-timestamp": "now"},
        {"webhook-timestamp": "１６１４２６５３３０"},
    ],
)
def test_anything_else_is_not_authentic(change: dict[str, str]) -> None:
    with pytest.raises(NotAuthentic):
        KIND.verify({**HEADERS, **change}, BODY, [SECRET], NOW)


@pytest.mark.parametrize("headers", [{}, {"webhook-signature": HEADERS["webhook-signature"]}])
def test_without_headers_nothing_is_authentic(headers: dict[str, str]) -> None:
    with pytest.raises(NotAuthentic):
        KIND.verify(headers, BODY, [SECRET], NOW)


def test_another_body_or_no_secret_is_not_authentic() -> None:
    for body, secrets in ((BODY + b" ", [SECRET]), (BODY, []), (BODY, ["whsec_***"])):
        with pytest.raises(NotAuthentic):
            KIND.verify(HEADERS, body, secrets, NOW)


@pytest.mark.parametrize(("minutes", "authentic"), [(-4.9, True), (4.9, True), (-5.1, False), (5.1, False)])
def test_a_message_is_good_for_five_minutes_both_ways(minutes: float, authentic: bool) -> None:
    at = datetime.fromtimestamp(1614265330, UTC) + timedelta(minutes=minutes)
    try:
        verified = KIND.verify(HEADERS, BODY, [SECRET], at) == HEADERS["webhook-id"]
    except NotAuthentic:
        verified = False
    assert verified is authentic


@pytest.mark.parametrize("secret", ["whsec_", "whsec_AAEC", "plain words", "whsec_" + "A" * 96])
def test_short_long_and_broken_secrets_are_refused(secret: str) -> None:
    assert not KIND.check_secret(secret)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "not_an_object"),
        (b"[]", "not_an_object"),
        (b'{"type": "deal.moved"}', "not_an_object"),
        (b'{"type": "deal.eaten", "data": {}}', "unknown_event_type"),
        (b'{"data": {}}', "unknown_event_type"),
        (b"\xff", "not_an_object"),
    ],
)
def test_bodies_that_tell_nothing(body: bytes, code: str) -> None:
    with pytest.raises(Rejected) as caught:
        KIND.read(body)
    assert [problem.code for problem in caught.value.problems] == [code]


@given(st.binary(max_size=60))
def test_no_body_is_more_than_rejected(body: bytes) -> None:
    with pytest.raises(Rejected):
        KIND.read(body)


def test_names_may_be_texts_or_objects() -> None:
    body = (
        b'{"type": "deal.moved", "data": {"owner": "ann", "customer": {"external_id": "acme"}, "fields": {"a": 1.5}}}'
    )
    told = KIND.read(body)
    assert (told.cells("data.owner.external_id"), told.cells("data.customer.external_id")) == ("ann", "acme")
    assert (told.fields, told.at) == ({"a": "1.5"}, "")
    none = KIND.read(b'{"type": "deal.moved", "timestamp": "2026-01-01T00:00:00Z", "data": {"owner": null}}')
    assert (none.cells("data.owner.external_id"), none.cells("data.customer.external_id")) == ("", None)
    assert none.at == "2026-01-01T00:00:00Z"
