"""Imports as a caller makes them: multipart forms, the workers run by hand, and the CRM Sales Opportunities file."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from sqlalchemy import text

from services.pipeline.use_cases.import_worker import ImportWorker
from services.pipeline.use_cases.webhook_worker import WebhookWorker
from shared.http_client import Answer
from tests.services.pipeline.building import names, stage
from tests.services.pipeline.serving import Pipeline

DATA = Path(__file__).resolve().parents[3] / "deploy" / "demo" / "data"

B2B = {
    "code": "b2b-sales",
    "name": names("B2B sales"),
    "stages": [stage("prospecting"), stage("engaging"), stage("won", "won"), stage("lost", "lost")],
}
CRM_MAPPING: dict[str, Any] = {
    "process": "b2b-sales",
    "external_id": "opportunity_id",
    "owner": "sales_agent",
    "customer": "account",
    "product": {"column": "product", "values": {"GTXPro": "GTX Pro"}},
    "amount": {"column": "close_value", "currency": "USD"},
    "stages": [
        {"stage": "engaging", "at": "engage_date"},
        {"stage": {"column": "deal_stage", "values": {"Won": "won", "Lost": "lost"}}, "at": "close_date"},
    ],
    "current_stage": {
        "column": "deal_stage",
        "values": {"Prospecting": "prospecting", "Engaging": "engaging", "Won": "won", "Lost": "lost"},
    },
}
HEADER = "opportunity_id,sales_agent,product,account,deal_stage,engage_date,close_date,close_value"


def crm_rows() -> list[dict[str, str]]:
    """The CRM file read by the standard library alone."""
    with (DATA / "sales_pipeline.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def form(fields: dict[str, str], content: bytes, file_name: str, content_type: str) -> tuple[bytes, str]:
    """A multipart body and its content type."""
    boundary = "salesgrain-test-boundary"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{file_name}"\r\n'
        f"Content-Type: {content_type}\r\n\r\n"
    )
    body = b"".join(parts) + head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


async def hand_in(
    pipeline: Pipeline,
    content: bytes | str,
    *,
    mapping: Any = None,
    kind: str = "deals",
    dry_run: bool = False,
    file_name: str = "deals.csv",
    content_type: str = "text/csv",
    headers: dict[str, str] | None = None,
    role: str = "admin",
) -> Answer:
    fields = {"kind": kind, "mapping": json.dumps(CRM_MAPPING if mapping is None else mapping)}
    if dry_run:
        fields["dry_run"] = "true"
    raw = content.encode() if isinstance(content, str) else content
    body, form_type = form(fields, raw, file_name, content_type)
    return await pipeline.call(
        "POST", "/imports", body, role=role, headers={"content-type": form_type, **(headers or {})}
    )


def importer(pipeline: Pipeline) -> ImportWorker:
    return ImportWorker(pipeline.service.app.state.context)


async def imported(pipeline: Pipeline, content: bytes | str, **options: Any) -> Any:
    """Hand in a file, work until it is done, and return the import."""
    answer = await hand_in(pipeline, content, **options)
    assert answer.status == 202, answer.body
    accepted = json.loads(answer.body)
    assert (set(accepted), accepted["status"]) == ({"id", "status"}, "running")
    worker = importer(pipeline)
    while await worker.step():
        pass
    return await pipeline.ok("GET", f"/imports/{accepted['id']}")


async def errors_of(pipeline: Pipeline, job: Any, language: str = "en") -> list[dict[str, str]]:
    answer = await pipeline.call("GET", f"/imports/{job['id']}/errors", headers={"accept-language": language})
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(answer.body.decode())))


def counts(job: Any) -> dict[str, int]:
    return {name: job[name] for name in ("rows", "created", "updated", "unchanged", "rejected", "undated")}


async def processed(pipeline: Pipeline) -> None:
    """Work until no webhook waits."""
    worker = WebhookWorker(pipeline.service.app.state.context)
    while await worker.step():
        pass


async def poison(pipeline: Pipeline, external_id: str) -> None:
    """Let the database refuse one deal, for a reason that no reading of rows can foresee."""
    async with pipeline.database.transaction() as tx:
        await tx.execute(
            text("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'")
        )
        await tx.execute(
            text(
                "CREATE TRIGGER refuse BEFORE INSERT ON deal FOR EACH ROW"
                f" WHEN (NEW.external_id = '{external_id}') EXECUTE FUNCTION refuse()"
            )
        )
