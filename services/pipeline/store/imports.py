"""Imports in the database: the uploaded file, how far it is taken, and what was wrong with it."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import Row, delete, func, insert, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.import_problems import Problem
from services.pipeline.domain.tabular import WINDOW_BYTES, Encoding, Format, Lines
from services.pipeline.store.customer_names import RowKey
from services.pipeline.store.tables import import_chunk, import_error, import_job, import_row, import_stage

Kind = Literal["deals", "customers", "stage_log"]
Status = Literal["running", "completed", "failed", "cancelled"]
CHUNK_BYTES = 64 * 1024
LONGEST_VALUE = 500
# What readers of CSV take as one cell: many stop at 131,072 characters.
LONGEST_ROW = 100_000


class Tally(msgspec.Struct, frozen=True):
    """What became of the rows of a file; `undated` counts stage entries without a date in accepted rows."""

    rows: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    undated: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            *(a + b for a, b in zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True))
        )


class ImportJob(msgspec.Struct, frozen=True, kw_only=True):
    """An import: its file, its mapping as it was written, and how far it has come."""

    id: UUID
    kind: Kind
    status: Status = "running"
    dry_run: bool
    mapping: dict[str, Any]
    file_name: str | None
    format: Format
    encoding: Encoding
    columns: tuple[str, ...]
    size: int
    position: int
    line: int
    grouped_until: RowKey | None = None
    tally: Tally = Tally()
    failure: str | None = None
    actor: str | None
    correlation_id: str
    traceparent: str
    created_at: datetime
    completed_at: datetime | None = None
    expired: bool = False


class RowError(NamedTuple):
    """Something that is wrong with the row at a physical line."""

    line: int
    ordinal: int
    problem: Problem
    row: str


_COUNTS = Tally.__struct_fields__


def _to_job(row: Row[Any]) -> ImportJob:
    values = dict(row._mapping)
    tally = Tally(**{name: values.pop(name) for name in _COUNTS})
    values["columns"] = tuple(values["columns"])
    values["grouped_until"] = values["grouped_until"] and tuple(values["grouped_until"])
    return ImportJob(**values, tally=tally)


def _to_row(job: ImportJob) -> dict[str, Any]:
    values = msgspec.structs.asdict(job)
    tally: Tally = values.pop("tally")
    return {**values, **msgspec.structs.asdict(tally), "columns": list(job.columns)}


async def create_import(tx: AsyncConnection, job: ImportJob) -> None:
    """Write a new import; its chunks come within the same transaction."""
    await tx.execute(insert(import_job).values(_to_row(job)))


async def add_chunk(tx: AsyncConnection, import_id: UUID, ordinal: int, content: bytes) -> None:
    """Write chunk `ordinal` (0, 1, ...) of a file; each but the last has CHUNK_BYTES."""
    await tx.execute(insert(import_chunk).values(import_id=import_id, ordinal=ordinal, content=content))


async def plan_anew(tx: AsyncConnection) -> None:
    """Let every statement of `tx` be planned for the tables as they are now.

    A plan made (and kept by the connection) when the tables were empty reads all of them, however large they grow.
    """
    await tx.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))


async def next_running(tx: AsyncConnection) -> UUID | None:
    """Return the oldest import that is not finished."""
    running = select(import_job.c.id).where(import_job.c.status == "running")
    found: UUID | None = await tx.scalar(running.order_by(import_job.c.created_at, import_job.c.id).limit(1))
    return found


async def lock_import(tx: AsyncConnection, import_id: UUID) -> ImportJob | None:
    """Lock an import and return it."""
    row = (await tx.execute(select(import_job).where(import_job.c.id == import_id).with_for_update())).one_or_none()
    return None if row is None else _to_job(row)


async def find_import(tx: AsyncConnection, import_id: UUID) -> ImportJob | None:
    row = (await tx.execute(select(import_job).where(import_job.c.id == import_id))).one_or_none()
    return None if row is None else _to_job(row)


async def list_imports(tx: AsyncConnection, before: tuple[datetime, UUID] | None, limit: int) -> Sequence[ImportJob]:
    """Return imports, newest first, behind the one that `before` names."""
    statement = select(import_job).order_by(import_job.c.created_at.desc(), import_job.c.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(tuple_(import_job.c.created_at, import_job.c.id) < tuple_(*before))
    return [_to_job(row) for row in await tx.execute(statement)]


async def save_import(tx: AsyncConnection, job: ImportJob) -> None:
    """Write how far an import has come; the caller holds its lock."""
    values = _to_row(job)
    told = ("status", "position", "line", "grouped_until", *_COUNTS, "failure", "completed_at")
    await tx.execute(update(import_job).where(import_job.c.id == job.id).values({name: values[name] for name in told}))


async def read_window(tx: AsyncConnection, job: ImportJob) -> Lines:
    """Return the lines of the next WINDOW_BYTES of the file from its position."""
    # The byte before them tells whether they begin within a line.
    start = max(job.position - 1, 0)
    first, skip = divmod(start, CHUNK_BYTES)
    last = (job.position + WINDOW_BYTES - 1) // CHUNK_BYTES
    chunks = await tx.scalars(
        select(import_chunk.c.content)
        .where(import_chunk.c.import_id == job.id, import_chunk.c.ordinal.between(first, last))
        .order_by(import_chunk.c.ordinal)
    )
    before = job.position - start
    found = b"".join(chunks)[skip : skip + before + WINDOW_BYTES]
    window = found[before:]
    final = job.position + len(window) >= job.size
    return Lines(window, job.line, job.encoding, final=final, within=found[:before] not in (b"", b"\n"))


_CLAIM = text(
    """
    INSERT INTO import_row (import_id, source, external_id, line)
    SELECT CAST(:import_id AS uuid), source, external_id, line
    FROM unnest(CAST(:sources AS text[]), CAST(:external_ids AS text[]), CAST(:lines AS bigint[]))
         AS rows (source, external_id, line)
    ON CONFLICT DO NOTHING
    RETURNING source, external_id
    """
)


async def claim_rows(tx: AsyncConnection, import_id: UUID, lines: Mapping[RowKey, int]) -> Mapping[RowKey, int]:
    """Remember the first line of each id of a file; return those that an earlier line has told, with that line."""
    claimed = await tx.execute(
        _CLAIM,
        {
            "import_id": import_id,
            "sources": [source for source, _ in lines],
            "external_ids": [external_id for _, external_id in lines],
            "lines": list(lines.values()),
        },
    )
    taken = lines.keys() - {(row.source, row.external_id) for row in claimed}
    if not taken:
        return {}
    key = tuple_(import_row.c.source, import_row.c.external_id)
    rows = await tx.execute(select(import_row).where(import_row.c.import_id == import_id, key.in_(taken)))
    return {(row.source, row.external_id): row.line for row in rows}


async def add_errors(tx: AsyncConnection, import_id: UUID, errors: Iterable[RowError]) -> None:
    """Write what is wrong with rows, once for each line and ordinal."""
    rows = [
        {
            "import_id": import_id,
            "line": error.line,
            "ordinal": error.ordinal,
            "column_name": error.problem.where,
            "code": error.problem.code,
            "value": (error.problem.value or "")[:LONGEST_VALUE].replace("\0", "") or None,
            "row": error.row[:LONGEST_ROW].replace("\0", "\ufffd"),
        }
        for error in errors
    ]
    if rows:
        await tx.execute(insert(import_error), rows)


async def errors_of(tx: AsyncConnection, import_id: UUID) -> AsyncIterator[RowError]:
    """Yield what is wrong with the rows of a file, in order of its lines, without holding all of it in memory."""
    wanted = select(import_error).where(import_error.c.import_id == import_id)
    stream = await tx.stream(wanted.order_by(import_error.c.line, import_error.c.ordinal))
    async for row in stream:
        yield RowError(row.line, row.ordinal, Problem(row.code, row.column_name, row.value), row.row)


async def forget_rows(tx: AsyncConnection, import_id: UUID) -> None:
    """Drop what is needed only while an import runs."""
    for table in (import_row, import_stage):
        await tx.execute(delete(table).where(table.c.import_id == import_id))


async def expire_imports(tx: AsyncConnection, before: datetime) -> int:
    """Drop files and rows of imports that were made before; their counts stay. Returns how many imports."""
    old = (
        update(import_job)
        .where(import_job.c.created_at < before, ~import_job.c.expired)
        .values(
            expired=True,
            status=func.replace(import_job.c.status, "running", "failed"),
            failure=func.coalesce(import_job.c.failure, "expired"),
        )
        .returning(import_job.c.id)
    )
    ids = list(await tx.scalars(old))
    for table in (import_chunk, import_error, import_row, import_stage):
        await tx.execute(delete(table).where(table.c.import_id.in_(ids)))
    return len(ids)
