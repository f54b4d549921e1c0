"""What is watched, by whom, and what was announced of it last."""

from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.domain.definitions import DEFINITIONS
from shared.events.kpi import ValueAnnounced, Watch

# How long the past periods of a rolling watch stay in the export.
ROLLED_KEPT_FOR = timedelta(days=400)

_WATCH = "key, kpi, scope, grain, start_day, end_day, currency, process"
# A subscriber's newest set wins, whatever comes late.
_SUBSCRIBE = text(
    """
    INSERT INTO watch_subscriber AS s (subscriber, version, expires_at) VALUES (:subscriber, :version, :expires_at)
    ON CONFLICT (subscriber) DO UPDATE SET version = excluded.version, expires_at = excluded.expires_at
        WHERE s.version < excluded.version
    """
)
_ADD_WATCHES = text(
    """
    INSERT INTO watch (key, kpi, scope, grain, start_day, end_day, currency, process)
    SELECT n.*
    FROM unnest(CAST(:keys AS text[]), CAST(:kpis AS text[]), CAST(:scopes AS text[]), CAST(:grains AS text[]),
                CAST(:starts AS date[]), CAST(:ends AS date[]), CAST(:currencies AS text[]),
                CAST(:processes AS text[])) AS n (key, kpi, scope, grain, start_day, end_day, currency, process)
    ORDER BY n.key
    ON CONFLICT (key) DO UPDATE SET key = excluded.key
    """
)
_ADD_SUBSCRIPTIONS = text(
    """
    INSERT INTO watch_subscription (subscriber, watch_key)
    SELECT :subscriber, key FROM unnest(CAST(:keys AS text[])) AS key ORDER BY key
    ON CONFLICT DO NOTHING RETURNING watch_key
    """
)
_DROP_SUBSCRIPTIONS = text("DELETE FROM watch_subscription WHERE subscriber = :subscriber AND watch_key <> ALL(:keys)")
_EXPIRE = text(
    """
    WITH expired AS (DELETE FROM watch_subscriber WHERE expires_at < :now RETURNING subscriber)
    DELETE FROM watch_subscription WHERE subscriber IN (SELECT subscriber FROM expired)
    """
)
_UNWATCHED = text(
    """
    SELECT key FROM watch AS w
    WHERE NOT EXISTS (SELECT FROM watch_subscription AS s WHERE s.watch_key = w.key) ORDER BY key FOR UPDATE
    """
)
_DROP_UNWATCHED = text(
    """
    WITH unwatched AS (
        DELETE FROM watch AS w
        WHERE key = ANY(:keys) AND NOT EXISTS (SELECT FROM watch_subscription AS s WHERE s.watch_key = w.key)
        RETURNING key
    )
    DELETE FROM watch_value WHERE watch_key IN (SELECT key FROM unwatched)
    """
)
_DROP_OLD_PERIODS = text(
    """
    DELETE FROM watch_value AS v USING watch AS w
    WHERE w.key = v.watch_key AND w.start_day IS NULL AND v.period_end < :before
    """
)
_CANDIDATES = text(
    f"""
    SELECT {_WATCH} FROM watch
    WHERE :everything OR key = ANY(:keys) OR (kpi = ANY(:kpis) AND scope = ANY(:scopes))
    """  # noqa: S608 - made of constants
)
_LOCK = text(
    f"SELECT {_WATCH} FROM watch WHERE key = ANY(:keys) ORDER BY key FOR NO KEY UPDATE"  # noqa: S608 - constants
)
_ROLLING = text(
    f"""
    SELECT {_WATCH}, (SELECT max(period_start) FROM watch_value AS v WHERE v.watch_key = w.key) AS announced
    FROM watch AS w WHERE start_day IS NULL
    """  # noqa: S608 - made of constants
)
_VALUE = """
    currency, period_start, period_end, value, numerator, denominator, sample_size, reason, definition_version,
    version, recorded_at
"""
_VALUES = text(
    f"SELECT watch_key, {_VALUE} FROM watch_value WHERE watch_key = ANY(:keys)"  # noqa: S608 - made of constants
)
_SAVE_VALUES = text(
    f"""
    INSERT INTO watch_value (watch_key, {_VALUE})
    SELECT * FROM unnest(
        CAST(:watch_keys AS text[]), CAST(:currencies AS text[]), CAST(:starts AS date[]), CAST(:ends AS date[]),
        CAST(:values AS text[]), CAST(:numerators AS text[]), CAST(:denominators AS text[]),
        CAST(:sample_sizes AS bigint[]), CAST(:reasons AS text[]), CAST(:definition_versions AS int[]),
        CAST(:versions AS bigint[]), CAST(:recorded AS timestamptz[]))
    ON CONFLICT (watch_key, currency, period_start) DO UPDATE SET
        period_end = excluded.period_end, value = excluded.value, numerator = excluded.numerator,
        denominator = excluded.denominator, sample_size = excluded.sample_size, reason = excluded.reason,
        definition_version = excluded.definition_version, version = excluded.version,
        recorded_at = excluded.recorded_at
    """  # noqa: S608 - made of constants
)


class RollingWatch(NamedTuple):
    """A watch that moves with time, and the newest period that was announced of it."""

    watch: Watch
    announced: date | None


async def replace_watches(
    tx: AsyncConnection, subscriber: str, version: int, watches: Iterable[Watch], expires_at: datetime | None = None
) -> Sequence[str]:
    """Make `watches` the whole set of a subscriber; returns the keys that are new to it.

    Nothing happens when a newer set is known. Watches that nobody wants any more are dropped by drop_unwatched.
    """
    by_key = {watch.key: watch for watch in watches}
    row = await tx.execute(_SUBSCRIBE, {"subscriber": subscriber, "version": version, "expires_at": expires_at})
    if not row.rowcount:
        return ()
    await tx.execute(_DROP_SUBSCRIPTIONS, {"subscriber": subscriber, "keys": list(by_key)})
    if not by_key:
        return ()
    ordered = list(by_key.values())
    columns = {
        "keys": list(by_key),
        "kpis": [watch.kpi for watch in ordered],
        "scopes": [watch.scope for watch in ordered],
        "grains": [watch.grain for watch in ordered],
        "starts": [watch.start for watch in ordered],
        "ends": [watch.end for watch in ordered],
        "currencies": [watch.currency for watch in ordered],
        "processes": [watch.process for watch in ordered],
    }
    await tx.execute(_ADD_WATCHES, columns)
    new = await tx.execute(_ADD_SUBSCRIPTIONS, {"subscriber": subscriber, "keys": list(by_key)})
    return new.scalars().all()


async def drop_unwatched(tx: AsyncConnection, now: datetime) -> None:
    """Forget subscribers that expired before `now`, watches that nobody wants any more, and periods long gone by."""
    await tx.execute(_EXPIRE, {"now": now})
    await tx.execute(_DROP_OLD_PERIODS, {"before": now.date() - ROLLED_KEPT_FOR})
    keys = (await tx.execute(_UNWATCHED)).scalars().all()
    # Only a new statement sees who subscribed while the rows were being locked.
    await tx.execute(_DROP_UNWATCHED, {"keys": list(keys)})


async def watches_of(
    tx: AsyncConnection, *, everything: bool, keys: Collection[str], kpis: Collection[str], scopes: Collection[str]
) -> list[Watch]:
    """Return the watches with one of `keys`, or with one of `kpis` in one of `scopes`; or all of them."""
    found = await tx.execute(
        _CANDIDATES, {"everything": everything, "keys": list(keys), "kpis": list(kpis), "scopes": list(scopes)}
    )
    return [_watch(row) for row in found]


async def lock_watches(tx: AsyncConnection, keys: Collection[str]) -> list[Watch]:
    """Lock watches in the order of their keys; those that are gone are left out."""
    return [_watch(row) for row in await tx.execute(_LOCK, {"keys": sorted(keys)})]


async def rolling_watches(tx: AsyncConnection) -> list[RollingWatch]:
    """Return the watches of the present period of a grain."""
    return [RollingWatch(_watch(row), row.announced) for row in await tx.execute(_ROLLING)]


async def announced_values(tx: AsyncConnection, watches: Iterable[Watch]) -> list[ValueAnnounced]:
    """Return what was announced last of each watch, per currency and period."""
    by_key = {watch.key: watch for watch in watches}
    rows = await tx.execute(_VALUES, {"keys": list(by_key)})
    return [_announced(row, by_key[row.watch_key]) for row in rows]


async def save_values(tx: AsyncConnection, events: Sequence[ValueAnnounced]) -> None:
    """Keep what is announced, to compare the next value with it."""
    if events:
        columns = {
            "watch_keys": [event.watch.key for event in events],
            "currencies": [event.currency or "" for event in events],
            "starts": [event.period_start for event in events],
            "ends": [event.period_end for event in events],
            "values": [event.value for event in events],
            "numerators": [event.numerator for event in events],
            "denominators": [event.denominator for event in events],
            "sample_sizes": [event.sample_size for event in events],
            "reasons": [event.reason for event in events],
            "definition_versions": [event.definition_version for event in events],
            "versions": [event.version for event in events],
            "recorded": [event.recorded_at for event in events],
        }
        await tx.execute(_SAVE_VALUES, columns)


def _watch(row: Row[Any]) -> Watch:
    return Watch(
        kpi=row.kpi,
        scope=row.scope,
        grain=row.grain,
        start=row.start_day,
        end=row.end_day,
        currency=row.currency,
        process=row.process,
    )


def _announced(row: Row[Any], watch: Watch) -> ValueAnnounced:
    return ValueAnnounced(
        version=row.version,
        recorded_at=row.recorded_at,
        watch=watch,
        period_start=row.period_start,
        period_end=row.period_end,
        value=row.value,
        unit=DEFINITIONS[watch.kpi].unit,
        currency=row.currency or None,
        numerator=row.numerator,
        denominator=row.denominator,
        sample_size=row.sample_size,
        reason=row.reason,
        definition_version=row.definition_version,
    )
