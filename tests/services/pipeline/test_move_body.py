"""The hot route's decoder and its documented model accept and refuse the same bodies."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.pipeline.api.deal_models import DealAnswer, deal_document
from services.pipeline.api.moves import FastMoveBody, MoveBody
from services.pipeline.store.owners import Owner
from shared.ids import new_id
from tests.services.pipeline.building import new_deal, process
from tests.services.pipeline.serving import Pipeline

# The last is blank to Python, but not to the expressions of Pydantic.
_BLANKS = ["   ", "\t\n", "\u3000", "\x1c"]
_TEXTS = st.sampled_from(
    ["", "a", "offer", "Offer", "of fer", "x" * 64, "x" * 65, "x" * 200, "x" * 201, "二", "a\n", *_BLANKS]
)
_TIMES = st.sampled_from(
    [
        "2026-11-23T09:00:00Z", "2026-11-23T09:00:00.123456+08:00", "2026-11-23T09:00:00", "2026-11-23", "now", "",
        "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00",
    ]
)  # fmt: skip
_VALUES: st.SearchStrategy[Any] = st.one_of(
    _TEXTS, _TIMES, st.none(), st.integers(-3, 3), st.booleans(), st.just({}), st.just([]), st.just({"reason": "x"}),
    st.just({"reason": ""}), st.just({"reason": "x", "more": 1}), st.just({"reason": None}),
)  # fmt: skip
_NAMES = st.sampled_from(["to_stage", "reason", "lost_reason", "occurred_at", "override", "fact"])


def fast(body: bytes) -> FastMoveBody | None:
    try:
        return msgspec.json.decode(body, type=FastMoveBody)
    except msgspec.ValidationError:
        return None


def documented(body: bytes) -> MoveBody | None:
    try:
        return MoveBody.model_validate_json(body)
    except ValidationError:
        return None


@given(st.dictionaries(_NAMES, _VALUES, max_size=5))
def test_both_agree(body: dict[str, Any]):
    raw = msgspec.json.encode(body)
    quick, slow = fast(raw), documented(raw)
    assert (quick is None) == (slow is None), body
    if quick is not None and slow is not None:
        assert (quick.to_stage, quick.reason, quick.lost_reason) == (slow.to_stage, slow.reason, slow.lost_reason)
        assert quick.occurred_at == slow.occurred_at
        assert (quick.override and quick.override.reason) == (slow.override and slow.override.reason)


async def test_every_bad_field_is_told_at_once(field_sales: Pipeline):
    deal = await field_sales.deal()
    body = {"to_stage": "No Stage", "reason": "", "occurred_at": "2026-11-23T09:00:00", "override": {}, "fact": True}
    problem = await field_sales.problem("POST", f"/deals/{deal['id']}/moves", body)
    assert {error["pointer"] for error in problem["errors"]} == {
        "/to_stage", "/reason", "/occurred_at", "/override/reason", "/fact",
    }  # fmt: skip


@pytest.mark.parametrize("blank", _BLANKS)
def test_no_body_takes_blanks_for_a_lost_reason(blank: str):
    raw = msgspec.json.encode({"to_stage": "lost", "lost_reason": blank})
    assert (fast(raw), documented(raw)) == (None, None)


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b"", 422), (b"[]", 422), (b'{"to_stage": "a\\u0000"}', 422)]
)
async def test_what_is_no_body(field_sales: Pipeline, body: bytes, status: int):
    deal = await field_sales.deal()
    await field_sales.problem("POST", f"/deals/{deal['id']}/moves", body, status)


async def test_an_unknown_stage_is_a_bad_field(field_sales: Pipeline):
    deal = await field_sales.deal()
    problem = await field_sales.problem("POST", f"/deals/{deal['id']}/moves", {"to_stage": "nowhere"})
    assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [("/to_stage", "unknown_stage")]


@pytest.mark.parametrize("owner", [None, Owner(None, "x", False), Owner(new_id(), "x", True)])
def test_the_hot_answer_is_the_documented_one(owner: Owner | None):
    deal = new_deal(amount=128050, currency="CNY", fields={"a": 1.5, "二": True}, customer_id=new_id()).deal
    document = msgspec.json.encode(deal_document(deal, process(), owner))
    model = DealAnswer.of(deal, process(), owner)
    assert msgspec.json.decode(document) == msgspec.json.decode(model.model_dump_json())
    assert set(msgspec.json.decode(document)) == set(DealAnswer.model_fields)
