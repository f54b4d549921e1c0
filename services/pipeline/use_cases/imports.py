"""Imports: a file is received whole and durably, taken by a worker, and may be cancelled in between."""

import codecs
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.import_problems import Problem, Rejected
from services.pipeline.domain.mapping import RowMapping
from services.pipeline.domain.mapping_check import unknown_columns, unknown_names
from services.pipeline.domain.mapping_reader import KINDS, read_mapping
from services.pipeline.domain.tabular import WINDOW_BYTES, EncodingProbe, Format, read_header
from services.pipeline.store.imports import (
    CHUNK_BYTES,
    ImportJob,
    Kind,
    add_chunk,
    create_import,
    expire_imports,
    forget_rows,
    lock_import,
    save_import,
)
from services.pipeline.use_cases.context import Context
from services.pipeline.use_cases.processes import DEFAULT_PROCESS
from shared.ids import new_id
from shared.tracing import current_cause

KEPT_FOR = timedelta(days=30)
_NDJSON_TYPES = frozenset(
    {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/json"}
)
_NDJSON_NAMES = (".ndjson", ".jsonl", ".json")


class Upload(Protocol):
    """An uploaded file that can be read twice."""

    async def read(self, size: int = -1) -> bytes: ...

    async def seek(self, offset: int) -> None: ...


@dataclass(frozen=True, slots=True)
class NewImport:
    """A file and what to do with it; `mapping` as it was written."""

    upload: Upload
    kind: Kind
    mapping: object
    dry_run: bool
    file_name: str | None = None
    content_type: str | None = None


class NotRunning(Exception):  # noqa: N818 - the name of the fact
    """An import that has ended cannot be cancelled."""


async def receive_import(context: Context, tx: AsyncConnection, new: NewImport, actor: str | None) -> ImportJob:
    """Store a file and its import within `tx`; raises Rejected with pointers into the form."""
    try:
        mapping: RowMapping = read_mapping(KINDS[new.kind], new.mapping)
    except Rejected as error:
        raise Rejected(_under("/mapping", error.problems)) from error
    probe, head, size = EncodingProbe(), b"", 0
    while chunk := await new.upload.read(CHUNK_BYTES):
        probe.feed(chunk)
        head = head if len(head) >= WINDOW_BYTES else head + chunk
        size += len(chunk)
    probe.feed(b"", final=True)
    file_format = _format(new, head)
    problems = list(unknown_names(mapping, await context.processes.all_newest(tx), DEFAULT_PROCESS))
    columns: tuple[str, ...] = ()
    position, line = 0, 1
    if file_format == "csv":
        try:
            columns, lines = read_header(head, probe.encoding)
        except Rejected as error:
            raise Rejected(_under("/file", error.problems)) from error
        position, line = lines.position, lines.line
        problems += unknown_columns(mapping, columns)
    if problems:
        raise Rejected(_under("/mapping", problems))
    cause = current_cause()
    job = ImportJob(
        id=new_id(),
        kind=new.kind,
        dry_run=new.dry_run,
        mapping=msgspec.to_builtins(new.mapping),
        file_name=new.file_name,
        format=file_format,
        encoding=probe.encoding,
        columns=columns,
        size=size,
        position=position,
        line=line,
        actor=actor,
        correlation_id=cause.correlation_id,
        traceparent=cause.traceparent,
        created_at=context.clock(),
    )
    await create_import(tx, job)
    await _store_file(tx, job.id, new.upload)
    return job


async def _store_file(tx: AsyncConnection, import_id: UUID, upload: Upload) -> None:
    await upload.seek(0)
    ordinal = 0
    while chunk := await upload.read(CHUNK_BYTES):
        await add_chunk(tx, import_id, ordinal, chunk)
        ordinal += 1


def _under(pointer: str, problems: Iterable[Problem]) -> list[Problem]:
    return [msgspec.structs.replace(problem, where=pointer + (problem.where or "")) for problem in problems]


def _format(new: NewImport, head: bytes) -> Format:
    """What the part says it is, then its name, then what it begins with."""
    name = (new.file_name or "").lower()
    if new.content_type in _NDJSON_TYPES or name.endswith(_NDJSON_NAMES):
        return "ndjson"
    if new.content_type == "text/csv" or name.endswith(".csv"):
        return "csv"
    return "ndjson" if head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{") else "csv"


async def cancel_import(context: Context, tx: AsyncConnection, import_id: UUID) -> ImportJob | None:
    """Stop an import: what is taken stays, the rest is left. None when there is none; raises NotRunning."""
    job = await lock_import(tx, import_id)
    if job is None:
        return None
    if job.status != "running":
        raise NotRunning
    cancelled = msgspec.structs.replace(job, status="cancelled", completed_at=context.clock())
    await save_import(tx, cancelled)
    await forget_rows(tx, import_id)
    return cancelled


async def expire_old_imports(context: Context) -> None:
    """Drop the files and rows of imports that are older than 30 days."""
    async with context.database.transaction() as tx:
        await expire_imports(tx, context.clock() - KEPT_FOR)
