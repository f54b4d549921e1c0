"""How recent the counted events are: one row per partition, so that two consumers never wait for each other here."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.bus.protocol import TopicPartition

_ADVANCE = text(
    """
    INSERT INTO freshness AS f (topic, part, recorded_at)
    SELECT topic, part, recorded_at
    FROM unnest(CAST(:topics AS text[]), CAST(:parts AS int[]), CAST(:moments AS timestamptz[]))
         AS n (topic, part, recorded_at)
    ORDER BY topic, part
    ON CONFLICT (topic, part) DO UPDATE SET recorded_at = GREATEST(f.recorded_at, excluded.recorded_at)
    """
)
_NEWEST = text("SELECT max(recorded_at) FROM freshness")


async def advance_freshness(tx: AsyncConnection, moments: Mapping[TopicPartition, datetime]) -> None:
    """Record that events up to these moments are counted."""
    columns = {
        "topics": [at.topic for at in moments],
        "parts": [at.partition for at in moments],
        "moments": [*moments.values()],
    }
    await tx.execute(_ADVANCE, columns)


async def newest_counted(tx: AsyncConnection) -> datetime | None:
    """Return when the newest counted event was recorded; None before the first one."""
    newest: datetime | None = (await tx.execute(_NEWEST)).scalar()
    return newest
