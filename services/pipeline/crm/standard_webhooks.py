"""Standard Webhooks: signed `id.timestamp.body`, and a body `{"type", "timestamp", "data": {...}}` about one deal.

`data` has `external_id` and any of `name, process, stage, owner, amount, customer, product, lost_reason,
expected_close_on, occurred_at, fields`; `owner` and `customer` are an external id or an object that names one.
"""

import binascii
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

from services.pipeline.crm.adapter import NotAuthentic, Told
from services.pipeline.domain.deal import Scalar
from services.pipeline.domain.import_problems import Problem, Rejected
from services.pipeline.domain.json_cells import as_text, object_cells, read_object

TOLERANCE_SECONDS = 5 * 60
LARGEST_ID = 255
SMALLEST_SECRET, LARGEST_SECRET = 24, 64
EVENT_TYPES = frozenset({"deal.created", "deal.updated", "deal.moved", "deal.stage_changed"})
_PREFIX = "whsec_"
_SECONDS = re.compile(r"\d{1,12}")


class StandardWebhooks:
    """The kind `standard-webhooks`."""

    name = "standard-webhooks"
    mapping: Mapping[str, Any] = {
        "external_id": "data.external_id",
        "name": "data.name",
        "process": {"column": "data.process"},
        "owner": "data.owner.external_id",
        "owner_id": "data.owner.person_id",
        "customer": "data.customer.external_id",
        "customer_name": "data.customer.name",
        "product": "data.product",
        "amount": {"column": "data.amount.amount", "currency": {"column": "data.amount.currency"}},
        "expected_close_on": "data.expected_close_on",
        "lost_reason": "data.lost_reason",
        "current_stage": "data.stage",
    }

    def check_secret(self, secret: str) -> bool:
        """Tell whether `secret` is `whsec_` and the Base64 of 24 to 64 bytes."""
        key = _key(secret)
        return key is not None and SMALLEST_SECRET <= len(key) <= LARGEST_SECRET

    def verify(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> str:
        """Return the `webhook-id`; any of the signatures by any of the secrets will do. Raises NotAuthentic."""
        message_id, seconds = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        signatures = headers.get("webhook-signature", "").split()
        if not message_id or len(message_id) > LARGEST_ID or not _SECONDS.fullmatch(seconds):
            raise NotAuthentic
        if abs(now.timestamp() - int(seconds)) > TOLERANCE_SECONDS:
            raise NotAuthentic
        wanted = [sign(secret, message_id, seconds, body) for secret in secrets]
        # Every pair is compared, so that the time taken says nothing about which one matched.
        matches = [hmac.compare_digest(a.encode(), b.encode()) for a in wanted for b in signatures]
        if not any(matches):
            raise NotAuthentic
        return message_id

    def read(self, body: bytes) -> Told:
        """Return what a body tells; raises Rejected when it is no JSON object or of an unknown type."""
        payload = read_object(body)
        data = payload.get("data") if payload else None
        if payload is None or not isinstance(data, dict):
            raise Rejected([Problem("not_an_object", None if payload is None else "data")])
        if payload.get("type") not in EVENT_TYPES:
            raise Rejected([Problem("unknown_event_type", "type", as_text(payload.get("type")))])
        for name in ("owner", "customer"):
            if isinstance(data.get(name), str):
                data[name] = {"external_id": data[name]}
            elif name in data and data[name] is None:
                data[name] = {"external_id": None}
        at = data.get("occurred_at") or payload.get("timestamp")
        return Told(payload["type"], object_cells(payload), as_text(at), _free_fields(data.get("fields")))


def sign(secret: str, message_id: str, seconds: str, body: bytes) -> str:
    """Return the `v1,...` signature of a message; empty, which matches nothing, for a secret that is none."""
    key = _key(secret)
    if key is None:
        return ""
    signed = f"{message_id}.{seconds}.".encode() + body
    return "v1," + b64encode(hmac.new(key, signed, sha256).digest()).decode()


def _key(secret: str) -> bytes | None:
    try:
        return b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None


def _free_fields(found: object) -> Mapping[str, Scalar]:
    if not isinstance(found, dict):
        return {}
    return {
        name: value if isinstance(value, str | int | bool | None) else as_text(value) for name, value in found.items()
    }
