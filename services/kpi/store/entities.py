"""What is known of each stream: its version and, for a deal, its course."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.domain.course import DealCourse

_LOCK = text(
    """
    SELECT stream, version, state FROM entity_state
    WHERE generation = :generation AND stream = ANY(:streams) ORDER BY stream FOR NO KEY UPDATE
    """
)
_SAVE = text(
    """
    INSERT INTO entity_state (generation, stream, version, state)
    SELECT :generation, stream, version, state
    FROM unnest(CAST(:streams AS text[]), CAST(:versions AS bigint[]), CAST(:states AS bytea[]))
         AS n (stream, version, state)
    ORDER BY stream
    ON CONFLICT (generation, stream) DO UPDATE SET version = excluded.version, state = excluded.state
    RETURNING stream, id
    """
)
# A row that has its version already is not written again.
_SAVE_VERSIONS = text(
    """
    INSERT INTO entity_state (generation, stream, version)
    SELECT :generation, n.stream, n.version
    FROM unnest(CAST(:streams AS text[]), CAST(:versions AS bigint[])) AS n (stream, version)
    WHERE NOT EXISTS (SELECT FROM entity_state AS e
                      WHERE e.generation = :generation AND e.stream = n.stream AND e.version = n.version)
    ORDER BY n.stream
    ON CONFLICT (generation, stream) DO UPDATE SET version = excluded.version
    """
)
_COUNTED = text(
    """
    SELECT stream, version FROM entity_state
    WHERE generation = (SELECT id FROM generation WHERE state = 'active') AND stream = ANY(:streams)
    """
)
_VERSIONS = text("SELECT stream, version FROM entity_state WHERE generation = :generation")

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(DealCourse)


class Entity(NamedTuple):
    """A stream as far as it is applied; only deals have a course."""

    version: int
    course: DealCourse | None


async def lock_entities(tx: AsyncConnection, generation: int, streams: Sequence[str]) -> dict[str, Entity]:
    """Lock the rows of `streams`, sorted, and return what is known of each; a new stream is missing."""
    rows = await tx.execute(_LOCK, {"generation": generation, "streams": sorted(streams)})
    return {stream: Entity(version, _decoder.decode(state) if state else None) for stream, version, state in rows}


async def save_entities(tx: AsyncConnection, generation: int, entities: Mapping[str, Entity]) -> dict[str, int]:
    """Write versions and courses; returns the number by which facts name each stream."""
    if not entities:
        return {}
    columns = {
        "streams": [*entities],
        "versions": [entity.version for entity in entities.values()],
        "states": [_encoder.encode(entity.course) for entity in entities.values()],
    }
    rows = await tx.execute(_SAVE, {"generation": generation, **columns})
    return {stream: number for stream, number in rows}  # noqa: C416 - rows are no pairs to mypy


async def save_versions(tx: AsyncConnection, generation: int, versions: Mapping[str, int]) -> None:
    """Write versions only, where they differ; a course that is there stays."""
    columns = {"streams": [*versions], "versions": [*versions.values()]}
    await tx.execute(_SAVE_VERSIONS, {"generation": generation, **columns})


async def counted_versions(tx: AsyncConnection, streams: Collection[str]) -> dict[str, int]:
    """Return up to which version streams are counted in the present truth; one that is not known is missing."""
    rows = await tx.execute(_COUNTED, {"streams": sorted(streams)})
    return {row.stream: row.version for row in rows}


async def all_versions(tx: AsyncConnection, generation: int) -> dict[str, int]:
    """Return the counted version of every stream."""
    rows = await tx.execute(_VERSIONS, {"generation": generation})
    return {row.stream: row.version for row in rows}
