"""What the tests of pipeline are made of: a small process, deals of it, and the moment they happen."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from services.pipeline.domain.course import Entry, create_deal
from services.pipeline.domain.deal import DealChange
from services.pipeline.domain.deal_fields import DealFields
from services.pipeline.domain.process import Process
from services.pipeline.domain.stage_entry import Recording
from shared.calendar import BusinessCalendar
from shared.ids import new_id

# A Monday morning in Shanghai, without holidays near it.
NOW = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
CALENDAR = BusinessCalendar(ZoneInfo("Asia/Shanghai"))


def names(text: str) -> dict[str, str]:
    return {"zh": f"{text}（中）", "en": text}


def stage(code: str, kind: str = "open", **more: Any) -> dict[str, Any]:
    return {"code": code, "name": names(code), "kind": kind, **more}


def definition(**changes: Any) -> dict[str, Any]:
    """Three open stages, won and lost; the first two have gates."""
    found: dict[str, Any] = {
        "code": "field-sales",
        "name": names("Field sales"),
        "stages": [
            stage(
                "visit",
                sla="P2D",
                tasks=[
                    {"code": "call", "name": names("Call"), "mandatory": True, "due": "PT4H"},
                    {"code": "map", "name": names("Map"), "mandatory": False, "due": "P1D"},
                ],
                exit_criteria=[
                    {"kind": "tasks_done"},
                    {"kind": "field_present", "field": "fields.budget"},
                ],
            ),
            stage(
                "offer",
                clock="calendar",
                sla="P1W",
                tasks=[{"code": "price", "name": names("Price"), "mandatory": True}],
                exit_criteria=[{"kind": "field_at_least", "field": "amount", "value": "100"}],
            ),
            stage("signing", entry_criteria=[{"kind": "field_present", "field": "customer_id", "code": "known"}]),
            stage("closed", "won"),
            stage("dropped", "lost"),
        ],
        "moves": "forward",
    }
    return {**found, **changes}


def process(**changes: Any) -> Process:
    return msgspec.convert(definition(**changes), Process)


def recording(minutes: float = 0, actor: str | None = "ann") -> Recording:
    return Recording(NOW + timedelta(minutes=minutes), actor, CALENDAR)


def new_deal(of: Process | None = None, stage_code: str | None = None, **told: Any) -> DealChange:
    """A deal that began NOW."""
    made_of = of or process()
    fields: DealFields = {"name": "Pumps", **told}  # type: ignore[typeddict-item]
    return create_deal(made_of, new_id(), fields, Entry(stage_code or made_of.first.code, NOW), recording())
