"""The synthetic board: about 200 deals of this quarter whose course is scripted, and the way a seller passes a gate."""

import json
from datetime import datetime, timedelta
from typing import Any

from deploy.demo.api import Api, Json
from shared.clock import rfc3339

PROCESS = "standard"
CURRENCY = "CNY"
SOURCE = "synthetic"
DEALS = 200
OPEN_STAGES = ("prospecting", "needs_analysis", "demo", "quote", "negotiation")
# Ten deals in turn end here: seven still open, two won, one lost.
ENDS = (
    "prospecting",
    "prospecting",
    "needs_analysis",
    "needs_analysis",
    "demo",
    "quote",
    "negotiation",
    "won",
    "won",
    "lost",
)
MAPPING: Json = {
    "process": PROCESS,
    "external_id": "id",
    "name": "name",
    "owner": "owner",
    "source": "source",
    "amount": {"column": "amount", "currency": CURRENCY},
    "stages": [{"stage": code, "at": f"{code}_at"} for code in (*OPEN_STAGES, "won", "lost")],
    "current_stage": {"column": "stage", "values": {code: code for code in (*OPEN_STAGES, "won", "lost")}},
    "lost_reason": "lost_reason",
}


def amount(number: int) -> str:
    return f"{5000 + number * 7919 % 40000}.00"


def scripted_deals(owners: list[str], begin: datetime, now: datetime) -> bytes:
    """Return the board as NDJSON: deal n begins and moves on at fixed parts of the time from `begin` to `now`."""
    lines: list[str] = []
    for number in range(DEALS):
        end = ENDS[number % len(ENDS)]
        path = _path(end)
        first = (now - begin) * (number % 50) / 100
        step = (now - begin - first) / (len(path) + 1)
        deal: dict[str, Any] = {
            "id": f"synthetic-{number:03}",
            "name": f"Synthetic {number:03}",
            "owner": owners[number % len(owners)],
            "source": SOURCE,
            "amount": amount(number),
            "stage": end,
            "lost_reason": "price" if end == "lost" else "",
        }
        deal |= {f"{code}_at": rfc3339(_at(begin, first, step, place)) for place, code in enumerate(path)}
        lines.append(json.dumps(deal))
    return ("\n".join(lines) + "\n").encode()


def _path(end: str) -> tuple[str, ...]:
    if end == "lost":
        return (*OPEN_STAGES[:3], "lost")
    if end == "won":
        return (*OPEN_STAGES, "won")
    return OPEN_STAGES[: OPEN_STAGES.index(end) + 1]


def _at(begin: datetime, first: timedelta, step: timedelta, place: int) -> datetime:
    return (begin + first + step * place).replace(microsecond=0)


async def meet_standard(api: Api, deal_id: str, stages: dict[str, Json], customer_id: str) -> None:
    """Do what the present stage of a deal asks for: its open tasks, with evidence, and the fields of its criteria."""
    deal = await api.get(f"/pipeline/v1/deals/{deal_id}")
    criteria = stages[deal["stage"]["code"]]["exit_criteria"]
    evidence = {item["field"]: "seen by the demonstration" for item in criteria if item["kind"] == "evidence"}
    tasks = await api.get("/pipeline/v1/tasks", {"deal_id": deal_id, "status": "open"})
    for task in tasks["items"]:
        await api.patch(f"/pipeline/v1/tasks/{task['id']}", {"status": "done", "result": evidence})
    changes = _fields(criteria, customer_id)
    if changes:
        await api.patch(f"/pipeline/v1/deals/{deal_id}", changes)


def _fields(criteria: list[Json], customer_id: str) -> Json:
    """Return the PATCH of a deal that meets the field criteria."""
    changes: Json = {}
    for item in criteria:
        if item["kind"] not in ("field_present", "field_at_least", "field_equals"):
            continue
        head, _, name = str(item["field"]).partition(".")
        known = {"expected_close_on": "2099-12-31", "customer_id": customer_id}
        value = item.get("value", known.get(head, "agreed"))
        if head == "fields":
            changes.setdefault("fields", {})[name] = value
        elif head not in ("amount", "owner"):
            changes[head] = value
    return changes
