"""The second half of a stage log: every deal gets the entries that its rows tell, wherever they stood in the file."""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.course import Entry
from services.pipeline.domain.import_problems import Problem
from services.pipeline.domain.import_rows import DealRow
from services.pipeline.domain.process import Process
from services.pipeline.domain.row import OwnerName
from services.pipeline.domain.told_course import in_order
from services.pipeline.store.import_stages import StageLine, next_deals
from services.pipeline.store.imports import ImportJob, RowError, Tally, add_errors
from services.pipeline.use_cases.context import Context
from services.pipeline.use_cases.record_deals import key_of, record_deals
from services.pipeline.use_cases.recorded import Recorder


async def record_stage_log(tx: AsyncConnection, context: Context, job: ImportJob, limit: int) -> ImportJob | None:
    """Record the next deals of a stage log within `tx`; None when there are no more.

    The entries are merged into what is known of a deal. `created`, `updated` and `unchanged` count deals.
    """
    deals = await next_deals(tx, job.id, job.grouped_until, limit)
    if not deals:
        return None
    processes = await context.processes.all_newest(tx)
    rows = [_deal_row(lines, processes) for lines in deals if _process_of(lines) in processes]
    told = await record_deals(tx, context, rows, Recorder(job.actor, job.dry_run))
    outcomes = {key_of(row): outcome.result for row, outcome in zip(rows, told, strict=True)}
    results = [
        (
            lines,
            outcomes.get(
                (lines[0].row.source, lines[0].row.external_id), Problem("other_process", None, lines[0].row.process)
            ),
        )
        for lines in deals
    ]
    refused = [(lines, result) for lines, result in results if isinstance(result, Problem)]
    await add_errors(
        tx, job.id, [RowError(each.line, 0, result, each.text) for lines, result in refused for each in lines]
    )
    counted = Counter(result for _, result in results if isinstance(result, str))
    tally = Tally(
        created=counted["created"],
        updated=counted["updated"],
        unchanged=counted["unchanged"],
        rejected=sum(len(lines) for lines, _ in refused),
        undated=sum(each.row.at is None for lines, result in results if isinstance(result, str) for each in lines),
    )
    last = deals[-1][0].row
    return msgspec.structs.replace(job, grouped_until=(last.source, last.external_id), tally=job.tally + tally)


def _process_of(lines: Sequence[StageLine]) -> str:
    """The one process of a deal's rows, or none when they disagree."""
    named = {each.row.process for each in lines}
    return named.pop() if len(named) == 1 else ""


def _deal_row(lines: Sequence[StageLine], processes: Mapping[str, Process]) -> DealRow:
    first = lines[0].row
    owner = next((each.row.owner for each in reversed(lines) if each.row.owner), None)
    entries = [Entry(each.row.stage, each.row.at) for each in lines]
    return DealRow(
        source=first.source,
        external_id=first.external_id,
        process=first.process,
        told={},
        owner=OwnerName(external_id=owner) if owner else msgspec.UNSET,
        course=tuple(in_order(entries, processes[first.process].places)),
        partial=True,
    )
