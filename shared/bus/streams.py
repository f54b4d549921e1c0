"""Which version of each dense stream a group has applied, and the events that wait for their predecessor."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.bus.arrivals import Arrival, arrive, dense_topics, without_place
from shared.db.statements import Statement
from shared.events.codec import Message

_LOCK = Statement(
    """
    SELECT stream, version FROM stream_position
    WHERE grp = $1 AND stream = ANY(CAST($2 AS text[])) ORDER BY stream FOR NO KEY UPDATE
    """
)
_STORE = Statement(
    """
    INSERT INTO stream_position (grp, stream, version)
    SELECT $1, stream, version
    FROM unnest(CAST($2 AS text[]), CAST($3 AS bigint[])) AS n (stream, version)
    ORDER BY stream
    ON CONFLICT (grp, stream) DO UPDATE SET version = excluded.version
    """
)
_PARKED = Statement(
    """
    SELECT stream, version, topic, key, headers::text AS headers, value FROM parked_message
    WHERE grp = $1 AND stream = ANY(CAST($2 AS text[]))
    UNION ALL
    SELECT stream, version, NULL, NULL, NULL, NULL FROM dead_letter
    WHERE grp = $1 AND stream = ANY(CAST($2 AS text[])) AND replayed_at IS NULL
    """
)
_SETTLE = text(
    """
    UPDATE dead_letter AS d SET replayed_at = clock_timestamp()
    FROM unnest(CAST(:streams AS text[]), CAST(:versions AS bigint[])) AS n (stream, version)
    WHERE d.grp = :grp AND d.stream = n.stream AND d.version <= n.version AND d.replayed_at IS NULL
    """
)
_PARK = text(
    """
    INSERT INTO parked_message (grp, stream, version, topic, key, headers, value)
    SELECT :grp, stream, version, topic, key, headers::jsonb, value
    FROM unnest(CAST(:streams AS text[]), CAST(:versions AS bigint[]), CAST(:topics AS text[]), CAST(:keys AS text[]),
                CAST(:headers AS text[]), CAST(:values AS bytea[])) AS n (stream, version, topic, key, headers, value)
    ORDER BY stream, version
    ON CONFLICT DO NOTHING
    """
)
_UNPARK = text(
    """
    DELETE FROM parked_message AS p
    USING unnest(CAST(:streams AS text[]), CAST(:versions AS bigint[])) AS n (stream, version)
    WHERE p.grp = :grp AND p.stream = n.stream AND p.version <= n.version
    """
)
_WAITING = text(
    """
    SELECT stream, min(topic) AS topic, min(key) AS key FROM parked_message AS p
    WHERE grp = :grp AND NOT EXISTS (
        SELECT FROM dead_letter AS d WHERE d.grp = p.grp AND d.stream = p.stream AND d.replayed_at IS NULL
    )
    GROUP BY stream
    HAVING min(parked_at) <= clock_timestamp() - make_interval(secs => :age_seconds)
    ORDER BY random() LIMIT :limit
    """
)
_PARKED_STREAMS = text(
    """
    SELECT count(*) FROM (
        SELECT stream FROM parked_message WHERE grp = :grp
        UNION
        SELECT stream FROM dead_letter
        WHERE grp = :grp AND replayed_at IS NULL AND stream IS NOT NULL AND topic = ANY(:dense)
    ) AS waiting
    """
)
_headers = msgspec.json.Decoder(dict[str, str])


class StreamPositions:
    """The StreamGuard of those who keep no state of their own per stream: one row for each, in `stream_position`."""

    def __init__(self, group: str) -> None:
        self._group = group

    async def lock(self, tx: AsyncConnection, streams: Sequence[str]) -> Mapping[str, int]:
        # A stream's first row needs no lock: the lock of its partition's offset row stands before it.
        known: dict[str, int] = dict(await _LOCK.fetch(tx, self._group, list(streams)))
        return {stream: known.get(stream, 0) for stream in streams}

    async def store(self, tx: AsyncConnection, versions: Mapping[str, int]) -> None:
        await _STORE.execute(tx, self._group, [*versions], [*versions.values()])


@dataclass(frozen=True, slots=True)
class WaitingStream:
    """A stream with parked events."""

    stream: str
    topic: str
    key: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in some streams: parked events by version, and the versions of dead letters not yet replayed."""

    parked: Mapping[str, Mapping[int, Arrival]]
    dead: Mapping[str, Collection[int]]


async def load_waiting(tx: AsyncConnection, group: str, streams: Collection[str]) -> Waiting:
    """Return what waits in `streams`."""
    parked: dict[str, dict[int, Arrival]] = defaultdict(dict)
    dead: dict[str, list[int]] = defaultdict(list)
    for stream, version, topic, key, headers, value in await _PARKED.fetch(tx, group, list(streams)):
        if topic is None:
            dead[stream].append(version)
        else:
            message = Message(topic, key, _headers.decode(headers), value)
            parked[stream][version] = arrive(without_place([message])[0])
    return Waiting(parked, dead)


async def settle_dead_letters(tx: AsyncConnection, group: str, versions: Mapping[str, int]) -> None:
    """Mark the dead letters of each stream up to its version as replayed: their events are applied now."""
    if versions:
        await tx.execute(_SETTLE, {"grp": group, "streams": [*versions], "versions": [*versions.values()]})


async def park(tx: AsyncConnection, group: str, waiting: Mapping[tuple[str, int], Message]) -> None:
    """Keep events by stream and version until their predecessor has come."""
    if not waiting:
        return
    messages = [*waiting.values()]
    columns = {
        "streams": [stream for stream, _ in waiting],
        "versions": [version for _, version in waiting],
        "topics": [message.topic for message in messages],
        "keys": [message.key for message in messages],
        "headers": [msgspec.json.encode(message.headers).decode() for message in messages],
        "values": [message.value for message in messages],
    }
    await tx.execute(_PARK, {"grp": group, **columns})


async def unpark(tx: AsyncConnection, group: str, versions: Mapping[str, int]) -> None:
    """Forget the parked events of each stream up to its version: they are applied, or dead letters."""
    if versions:
        await tx.execute(_UNPARK, {"grp": group, "streams": [*versions], "versions": [*versions.values()]})


async def waiting_streams(tx: AsyncConnection, group: str, age: timedelta, limit: int) -> list[WaitingStream]:
    """Return up to `limit` streams with events parked for longer than `age`, leaving out those behind a dead letter.

    They are drawn by chance: hopeless ones must not keep the others from being healed.
    """
    rows = await tx.execute(_WAITING, {"grp": group, "age_seconds": age.total_seconds(), "limit": limit})
    return [WaitingStream(row.stream, row.topic, row.key) for row in rows]


async def parked_streams(tx: AsyncConnection, group: str) -> int:
    """Return how many streams of the group stand still: behind a gap, or behind a dead letter."""
    return int((await tx.execute(_PARKED_STREAMS, {"grp": group, "dense": [*dense_topics()]})).scalar_one())
