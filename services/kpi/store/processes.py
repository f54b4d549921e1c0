"""Sales processes as pipeline tells them: names and order of stages."""

from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.events.pipeline import ProcessChanged, ProcessStage

_SAVE = text(
    """
    INSERT INTO process AS p (code, version, deleted, name, stages)
    VALUES (:code, :version, :deleted, CAST(:name AS jsonb), CAST(:stages AS jsonb))
    ON CONFLICT (code) DO UPDATE SET version = excluded.version, deleted = excluded.deleted, name = excluded.name,
                                     stages = excluded.stages
        WHERE p.version < excluded.version
    """
)
_STAGES = text("SELECT stages FROM process WHERE code = :code AND NOT deleted")


async def save_process(tx: AsyncConnection, event: ProcessChanged) -> None:
    """Keep a process unless a newer version of it is known."""
    row = {
        "code": event.code,
        "version": event.version,
        "deleted": event.deleted,
        "name": msgspec.json.encode(event.name).decode(),
        "stages": msgspec.json.encode(event.stages).decode(),
    }
    await tx.execute(_SAVE, row)


async def stages_of(tx: AsyncConnection, code: str) -> tuple[ProcessStage, ...] | None:
    """Return the stages of a process in their order; None when nobody told of it."""
    stages: list[dict[str, Any]] | None = (await tx.execute(_STAGES, {"code": code})).scalar()
    if stages is None:
        return None
    return tuple(sorted(msgspec.convert(stages, tuple[ProcessStage, ...]), key=lambda stage: stage.order))
