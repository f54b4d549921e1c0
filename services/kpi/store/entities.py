"""What is known of each stream: its version and, for a deal, its course."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.domain.course import DealCourse
from shared.db.engine import Database
from shared.db.statements import Statement

_LOCK = Statement(
    """
    SELECT stream, version, state FROM entity_state
    WHERE generation = $1 AND stream = ANY(CAST($2 AS text[])) ORDER BY stream FOR NO KEY UPDATE
    """
)
_SAVE = Statement(
    """
    INSERT INTO entity_state (generation, stream, version, state)
    SELECT CAST($1 AS int), stream, version, state
    FROM unnest(CAST($2 AS text[]), CAST($3 AS bigint[]), CAST($4 AS bytea[])) AS n (stream, version, state)
    ORDER BY stream
    ON CONFLICT (generation, stream) DO UPDATE SET version = excluded.version, state = excluded.state
    RETURNING stream, id
    """
)
# A row that has its version already is not written again.
_SAVE_VERSIONS = Statement(
    """
    INSERT INTO entity_state (generation, stream, version)
    SELECT CAST($1 AS int), n.stream, n.version
    FROM unnest(CAST($2 AS text[]), CAST($3 AS bigint[])) AS n (stream, version)
    WHERE NOT EXISTS (SELECT FROM entity_state AS e
                      WHERE e.generation = CAST($1 AS int) AND e.stream = n.stream AND e.version = n.version)
    ORDER BY n.stream
    ON CONFLICT (generation, stream) DO UPDATE SET version = excluded.version
    """
)
_COUNTED = Statement(
    """
    SELECT stream, version FROM entity_state
    WHERE generation = (SELECT id FROM generation WHERE state = 'active') AND stream = ANY(CAST($1 AS text[]))
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
    rows = await _LOCK.fetch(tx, generation, sorted(streams))
    return {stream: Entity(version, _decoder.decode(state) if state else None) for stream, version, state in rows}


async def save_entities(tx: AsyncConnection, generation: int, entities: Mapping[str, Entity]) -> dict[str, int]:
    """Write versions and courses; returns the number by which facts name each stream."""
    if not entities:
        return {}
    versions = [entity.version for entity in entities.values()]
    states = [_encoder.encode(entity.course) for entity in entities.values()]
    return dict(await _SAVE.fetch(tx, generation, [*entities], versions, states))


async def save_versions(tx: AsyncConnection, generation: int, versions: Mapping[str, int]) -> None:
    """Write versions only, where they differ; a course that is there stays."""
    await _SAVE_VERSIONS.execute(tx, generation, [*versions], [*versions.values()])


async def counted_versions(database: Database, streams: Collection[str]) -> dict[str, int]:
    """Return up to which version streams are counted in the present truth; one that is not known is missing."""
    return dict(await _COUNTED.fetch_alone(database, sorted(streams)))


async def all_versions(tx: AsyncConnection, generation: int) -> dict[str, int]:
    """Return the counted version of every stream."""
    rows = await tx.execute(_VERSIONS, {"generation": generation})
    return {row.stream: row.version for row in rows}
