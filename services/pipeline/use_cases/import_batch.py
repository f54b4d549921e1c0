"""One batch of an import: read rows, find what is wrong with them, record the rest; all of it in one transaction."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.import_problems import Problem, Rejected
from services.pipeline.domain.import_rows import CustomerRow, DealRow, RowReader, StageRow
from services.pipeline.domain.mapping import Cells, CustomerMapping, DealMapping, RowMapping
from services.pipeline.domain.mapping_reader import KINDS, read_mapping
from services.pipeline.domain.tabular import Record, read_rows
from services.pipeline.store.customer_names import RowKey
from services.pipeline.store.import_stages import StageLine, add_stages
from services.pipeline.store.imports import ImportJob, RowError, Tally, add_errors, claim_rows, read_window
from services.pipeline.use_cases.context import Context
from services.pipeline.use_cases.processes import DEFAULT_PROCESS
from services.pipeline.use_cases.record_customers import record_customers
from services.pipeline.use_cases.record_deals import record_deals
from services.pipeline.use_cases.recorded import Outcome, Recorder
from shared.foreground import foreground

TellsRow = DealRow | CustomerRow | StageRow
# About 5 ms of reading: then the loop is given back to whoever waits.
SLICE_ROWS = 80


@dataclass(slots=True)
class _Batch:
    """Rows that can be recorded, and what is wrong with the others; both by their place in the batch."""

    records: Sequence[Record]
    rows: dict[int, TellsRow] = field(default_factory=dict)
    problems: dict[int, Sequence[Problem]] = field(default_factory=dict)

    def refuse(self, index: int, problem: Problem) -> None:
        self.rows.pop(index, None)
        self.problems[index] = (problem,)

    def errors(self, job: ImportJob) -> list[RowError]:
        return [
            RowError(self.records[index].line, ordinal, problem, self.text(job, self.records[index]))
            for index, problems in self.problems.items()
            for ordinal, problem in enumerate(problems)
        ]

    @staticmethod
    def text(job: ImportJob, record: Record) -> str:
        return record.raw.decode(job.encoding, "replace").rstrip("\r\n")

    def tally(self, outcomes: Sequence[Outcome]) -> Tally:
        results = Counter(outcome.result for outcome in outcomes if isinstance(outcome.result, str))
        undated = sum(row.undated for row in self.rows.values() if isinstance(row, DealRow))
        return Tally(
            rows=len(self.records),
            created=results["created"],
            updated=results["updated"],
            unchanged=results["unchanged"],
            rejected=len(self.problems),
            undated=undated,
        )


async def take_batch(
    tx: AsyncConnection, context: Context, job: ImportJob, limit: int, *, refused: str | None = None
) -> ImportJob:
    """Take up to `limit` rows of a locked import within `tx` and return the import behind them.

    With `refused`, readable rows are not recorded but told as errors with that reason.
    """
    lines = await read_window(tx, job)
    batch = _Batch(list(islice(read_rows(lines, job.format, job.columns), limit)))
    await _read(tx, context, job, batch)
    for index in list(batch.rows) if refused else ():
        batch.refuse(index, Problem("not_recorded", None, refused))
    if job.kind != "stage_log":
        await _refuse_repeated(tx, job, batch)
    outcomes = await _record(tx, context, job, batch)
    for index, outcome in zip(list(batch.rows), outcomes, strict=False):
        if isinstance(outcome.result, Problem):
            batch.refuse(index, outcome.result)
    await add_errors(tx, job.id, batch.errors(job))
    return msgspec.structs.replace(
        job, position=job.position + lines.position, line=lines.line, tally=job.tally + batch.tally(outcomes)
    )


async def _read(tx: AsyncConnection, context: Context, job: ImportJob, batch: _Batch) -> None:
    processes = await context.processes.all_newest(tx)
    read = _reading(RowReader(processes, DEFAULT_PROCESS, context.calendar.zone), job)
    for index, record in enumerate(batch.records):
        if record.cells is None:
            batch.problems[index] = (record.problem,) if record.problem else ()
            continue
        try:
            batch.rows[index] = read(record.cells)
        except Rejected as error:
            batch.problems[index] = error.problems
        if index % SLICE_ROWS == SLICE_ROWS - 1:
            await foreground.give_way()


def _reading(reader: RowReader, job: ImportJob) -> Callable[[Cells], TellsRow]:
    mapping: RowMapping = read_mapping(KINDS[job.kind], job.mapping)
    if isinstance(mapping, DealMapping):
        return partial(reader.deal, mapping)
    if isinstance(mapping, CustomerMapping):
        return partial(reader.customer, mapping)
    return partial(reader.stage, mapping)


async def _refuse_repeated(tx: AsyncConnection, job: ImportJob, batch: _Batch) -> None:
    """Refuse rows whose id an earlier line of the file has, in this batch or before it."""
    first: dict[RowKey, int] = {}
    for index, row in list(batch.rows.items()):
        line = first.setdefault((row.source, row.external_id), batch.records[index].line)
        if line != batch.records[index].line:
            batch.refuse(index, Problem("duplicate_in_file", None, str(line)))
    taken = await claim_rows(tx, job.id, first) if first else {}
    for index, row in list(batch.rows.items()) if taken else ():
        if (row.source, row.external_id) in taken:
            batch.refuse(index, Problem("duplicate_in_file", None, str(taken[row.source, row.external_id])))


async def _record(tx: AsyncConnection, context: Context, job: ImportJob, batch: _Batch) -> Sequence[Outcome]:
    recorder = Recorder(job.actor, job.dry_run)
    rows = batch.rows.values()
    if job.kind == "deals":
        return await record_deals(tx, context, [row for row in rows if isinstance(row, DealRow)], recorder)
    if job.kind == "customers":
        return await record_customers(tx, context, [row for row in rows if isinstance(row, CustomerRow)], recorder)
    stages = [(batch.records[index], row) for index, row in batch.rows.items() if isinstance(row, StageRow)]
    await add_stages(tx, job.id, [StageLine(record.line, batch.text(job, record), row) for record, row in stages])
    return ()
