"""How much of each deal's course a file told last: what a later file leaves out was taken back by its source."""

from collections.abc import Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.store.customer_names import RowKey

_FIND = text(
    """
    SELECT source, external_id, entries FROM import_told
    JOIN unnest(CAST(:sources AS text[]), CAST(:external_ids AS text[])) AS wanted (source, external_id)
        USING (source, external_id)
    """
)
_SAVE = text(
    """
    INSERT INTO import_told (source, external_id, entries)
    SELECT * FROM unnest(CAST(:sources AS text[]), CAST(:external_ids AS text[]), CAST(:entries AS int[]))
    ON CONFLICT (source, external_id) DO UPDATE SET entries = excluded.entries
    """
)


async def told_entries(tx: AsyncConnection, keys: Mapping[RowKey, int]) -> dict[RowKey, int]:
    """Return how many stage entries were told last of those of the deals that a file told before."""
    rows = await tx.execute(_FIND, _columns(keys))
    return {(row.source, row.external_id): row.entries for row in rows}


async def save_told_entries(tx: AsyncConnection, entries: Mapping[RowKey, int]) -> None:
    """Remember how many stage entries are told now; the caller holds the locks of the deals."""
    if entries:
        await tx.execute(_SAVE, {**_columns(entries), "entries": list(entries.values())})


def _columns(keys: Mapping[RowKey, int]) -> dict[str, list[str]]:
    return {"sources": [source for source, _ in keys], "external_ids": [name for _, name in keys]}
