"""The rows of a stage log, kept until the whole file is read: a deal's entries may stand anywhere in it."""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.import_rows import StageRow
from services.pipeline.store.customer_names import RowKey
from services.pipeline.store.tables import import_stage


class StageLine(NamedTuple):
    """A row of a stage log at its physical line."""

    line: int
    text: str
    row: StageRow


async def add_stages(tx: AsyncConnection, import_id: UUID, lines: Sequence[StageLine]) -> None:
    """Keep the rows of a stage log."""
    rows = [
        {
            "import_id": import_id,
            "source": row.source,
            "external_id": row.external_id,
            "line": line,
            "process": row.process,
            "stage": row.stage,
            "at": row.at,
            "owner": row.owner,
            "row": text,
        }
        for line, text, row in lines
    ]
    if rows:
        await tx.execute(insert(import_stage), rows)


async def next_deals(
    tx: AsyncConnection, import_id: UUID, behind: RowKey | None, limit: int
) -> Sequence[Sequence[StageLine]]:
    """Return all rows of each of the next deals of a stage log, in order of source and external id, then of lines."""
    key = tuple_(import_stage.c.source, import_stage.c.external_id)
    deals = select(import_stage.c.source, import_stage.c.external_id).where(import_stage.c.import_id == import_id)
    if behind is not None:
        deals = deals.where(key > tuple_(*behind))
    deals = deals.distinct().order_by(import_stage.c.source, import_stage.c.external_id).limit(limit)
    rows = await tx.execute(
        select(import_stage)
        .where(import_stage.c.import_id == import_id, key.in_(deals))
        .order_by(import_stage.c.source, import_stage.c.external_id, import_stage.c.line)
    )
    lines = [
        StageLine(
            row.line,
            row.row,
            StageRow(
                source=row.source,
                external_id=row.external_id,
                process=row.process,
                stage=row.stage,
                at=row.at,
                owner=row.owner,
            ),
        )
        for row in rows
    ]
    return [list(same) for _, same in groupby(lines, key=lambda each: (each.row.source, each.row.external_id))]
