"""Imports over HTTP: hand in a file, see how far it is and what was wrong with it, cancel it."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, File, Form, Query, Response, UploadFile
from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request

from services.pipeline.api.context import ApiContext, CurrentContext
from services.pipeline.api.intake import AcceptedAnswer, refused
from services.pipeline.domain.import_problems import Problem as RowProblem
from services.pipeline.domain.import_problems import Rejected
from services.pipeline.store.imports import ImportJob, Kind, Status, errors_of, find_import, list_imports
from services.pipeline.use_cases.errors import NotFound
from services.pipeline.use_cases.imports import NewImport, NotRunning, cancel_import, receive_import
from services.pipeline.use_cases.visibility import actor_of
from shared.language import Language, Text, negotiate
from shared.web.idempotency import Idempotent, Reply
from shared.web.models import Answer, Page, Rfc3339
from shared.web.pagination import Pagination, page_response, read_position
from shared.web.principal import AdminOnly
from shared.web.problems import FieldError, conflict, invalid
from shared.web.validation_texts import field_text

router = APIRouter(tags=["imports"])

_NOT_RUNNING: Text = {"zh": "该导入已经结束。", "en": "The import has ended."}
# A cell that begins so is a formula to a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MAPPING_HELP = (
    "JSON: where each field is. A text names a column; `{column, values: {...}}` translates what is in it; "
    "`{constant}` is the same for all rows. `process`, the `stage` of an entry and `currency` are constants when they "
    "are plain texts. Deals: `external_id` (needed), `process, source, name, owner, owner_id, customer, customer_name, "
    "product, amount, expected_close_on, lost_reason, stages, current_stage, fields, date_format`. Customers: "
    "`external_id` (needed), `source, name, owner, segment, sector, lifecycle, lifecycle_at, contact, date_format`. "
    "Stage log: `external_id, stage, at` (needed), `process, source, owner, date_format`."
)
_EXAMPLE = (
    '{"process": "standard", "external_id": "id", "owner": "agent", "amount": {"column": "value", "currency": "CNY"}, '
    '"stages": [{"stage": "quote", "at": "quoted_on"}, {"stage": {"column": "state", "values": {"Won": "won", "Lost": '
    '"lost"}}, "at": "closed_on"}]}'
)
_EXAMPLE_FILE = "id,agent,value,quoted_on,state,closed_on\nopp-17,anna.snelling,1280.00,2026-11-02,Won,2026-11-23\n"


class ImportAnswer(Answer):
    """An import. `undated` counts the stage entries without a date in accepted rows; `failure` says why it ended early.

    `created`, `updated` and `unchanged` count deals or customers; in a dry run, what they would be.
    """

    id: UUID
    kind: Kind
    status: Status
    dry_run: bool
    rows: int
    created: int
    updated: int
    unchanged: int
    rejected: int
    undated: int
    file_name: str | None
    format: str
    encoding: str
    size_bytes: int
    read_bytes: int
    failure: str | None
    created_at: Rfc3339
    completed_at: Rfc3339 | None

    @classmethod
    def of(cls, job: ImportJob) -> Self:
        return cls(
            id=job.id,
            kind=job.kind,
            status=job.status,
            dry_run=job.dry_run,
            **msgspec.structs.asdict(job.tally),
            file_name=job.file_name,
            format=job.format,
            encoding=job.encoding,
            size_bytes=job.size,
            read_bytes=job.position,
            failure=job.failure,
            created_at=job.created_at,
            completed_at=job.completed_at,
        )


async def _known_parts(request: Request) -> None:
    # A misspelt dry_run must not become a real import.
    unknown = sorted((await request.form()).keys() - {"file", "kind", "mapping", "dry_run"})
    if unknown:
        raise invalid([FieldError(f"/{name}", *field_text("extra_forbidden", {})) for name in unknown])


@router.post("/imports", status_code=202, response_model=AcceptedAnswer, dependencies=[Depends(_known_parts)])
async def post_import(
    file: Annotated[
        UploadFile, File(description="CSV with a header, or NDJSON; UTF-8 or GB18030.", examples=[_EXAMPLE_FILE])
    ],
    kind: Annotated[Kind, Form(description="What a row tells.", examples=["deals"])],
    mapping: Annotated[str, Form(description=_MAPPING_HELP, examples=[_EXAMPLE])],
    context: CurrentContext,
    who: AdminOnly,
    once: Idempotent,
    dry_run: Annotated[bool, Form(description="Count and check everything, write nothing.")] = False,
) -> Response:
    """Import deals, customers or a stage log from a file; the answer comes when the file is stored durably.

    Rows are facts and repeatable: a row whose `external_id` its source knows changes what is different. Stage entries
    without a date stay without one. A row that cannot be taken is told under `errors`, all others are taken.
    """
    new = NewImport(file, kind, _parsed(mapping), dry_run, file.filename, file.content_type)

    async def work(tx: AsyncConnection) -> Reply:
        try:
            job = await receive_import(context, tx, new, actor_of(who))
        except Rejected as rejected:
            raise refused(rejected) from rejected
        answer = AcceptedAnswer(id=job.id, status=job.status)
        return Reply(202, answer, {"location": f"/pipeline/v1/imports/{job.id}"})

    response = await once.run(context.database, work)
    context.import_received.set()
    return response


def _parsed(mapping: str) -> object:
    try:
        return msgspec.json.decode(mapping)
    except msgspec.DecodeError as error:
        raise refused(Rejected([RowProblem("wrong_mapping", "/mapping")])) from error


class ImportQuery(Pagination):
    """Pages of the list of imports."""


@router.get("/imports")
async def read_imports(
    request: Request,
    response: Response,
    query: Annotated[ImportQuery, Query()],
    context: CurrentContext,
    _who: AdminOnly,
) -> Page[ImportAnswer]:
    """List imports, the newest first."""
    before = read_position(request, query.cursor, query, tuple[datetime, UUID])
    async with context.database.snapshot() as tx:
        found = await list_imports(tx, before, query.limit + 1)
    shown = found[: query.limit]
    more = (shown[-1].created_at, shown[-1].id) if len(found) > query.limit else None
    return page_response(request, response, [ImportAnswer.of(job) for job in shown], more, query)


@router.get("/imports/{import_id}")
async def read_import(import_id: UUID, context: CurrentContext, _who: AdminOnly) -> ImportAnswer:
    """Read how far an import is."""
    return ImportAnswer.of(await _found(context, import_id))


@router.get(
    "/imports/{import_id}/errors",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
async def read_import_errors(
    import_id: UUID, request: Request, context: CurrentContext, _who: AdminOnly
) -> StreamingResponse:
    """Read what was wrong, as CSV: line (1-based, of the file), column, code, message, and the row itself."""
    await _found(context, import_id)
    language = negotiate(request.headers.get("accept-language"))
    headers = {
        "content-disposition": f'attachment; filename="import-{import_id}-errors.csv"',
        "content-language": language,
        "vary": "Accept-Language",
        "cache-control": "no-store",
    }
    return StreamingResponse(_error_lines(context, import_id, language), 200, headers, "text/csv; charset=utf-8")


@router.post("/imports/{import_id}/cancellations", response_model=ImportAnswer)
async def post_cancellation(import_id: UUID, context: CurrentContext, _who: AdminOnly, once: Idempotent) -> Response:
    """Stop an import: what was taken stays, the rest of the file is left."""

    async def work(tx: AsyncConnection) -> Reply:
        try:
            job = await cancel_import(context, tx, import_id)
        except NotRunning:
            raise conflict("import_ended", _NOT_RUNNING) from None
        if job is None:
            raise NotFound("import")
        return Reply(200, ImportAnswer.of(job))

    return await once.run(context.database, work)


async def _found(context: ApiContext, import_id: UUID) -> ImportJob:
    async with context.database.snapshot() as tx:
        job = await find_import(tx, import_id)
    if job is None:
        raise NotFound("import")
    return job


async def _error_lines(context: ApiContext, import_id: UUID, language: Language) -> AsyncIterator[str]:
    yield _csv_line("line", "column", "code", "message", "row")
    async with context.database.snapshot() as tx:
        async for error in errors_of(tx, import_id):
            problem = error.problem
            yield _csv_line(
                error.line, problem.where or "", problem.code, problem.told_in(language), _harmless(error.row)
            )


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _csv_line(*cells: str | int) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()
