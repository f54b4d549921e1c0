"""How recent the counted events are: one row per partition, so that two consumers never wait for each other here."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.bus.protocol import TopicPartition
from shared.db.statements import Statement

_ADVANCE = Statement(
    """
    INSERT INTO freshness AS f (topic, part, recorded_at)
    SELECT topic, part, recorded_at
    FROM unnest(CAST($1 AS text[]), CAST($2 AS int[]), CAST($3 AS timestamptz[])) AS n (topic, part, recorded_at)
    ORDER BY topic, part
    ON CONFLICT (topic, part) DO UPDATE SET recorded_at = GREATEST(f.recorded_at, excluded.recorded_at)
    """
)
_NEWEST = text("SELECT max(recorded_at) FROM freshness")


async def advance_freshness(tx: AsyncConnection, moments: Mapping[TopicPartition, datetime]) -> None:
    """Record that events up to these moments are counted."""
    await _ADVANCE.execute(tx, [at.topic for at in moments], [at.partition for at in moments], [*moments.values()])


async def newest_counted(tx: AsyncConnection) -> datetime | None:
    """Return when the newest counted event was recorded; None before the first one."""
    newest: datetime | None = (await tx.execute(_NEWEST)).scalar()
    return newest
