"""Rows of progress and of the values that kpi announced.

Whoever needs both locks the watched values first, sorted by key: so a goal that is being made and a value that is
being applied cannot miss each other.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.goals.domain.progress import Measured
from services.goals.domain.standing import GOAL_HOLDER, Standing
from services.goals.store.tables import progress
from shared.events.goals import GoalProgressed

_LOCK_VALUES = text(
    """
    INSERT INTO watched_value AS known (watch_key, version)
    SELECT key, 0 FROM unnest(CAST(:keys AS text[])) AS key ORDER BY key
    ON CONFLICT (watch_key) DO UPDATE SET version = known.version
    RETURNING watch_key, version, value, reason, as_of
    """
)
_STORE_VALUES = text(
    """
    INSERT INTO watched_value AS known (watch_key, version, value, reason, as_of)
    SELECT key, version, value, reason, as_of
    FROM unnest(CAST(:keys AS text[]), CAST(:versions AS bigint[]), CAST(:values AS numeric[]),
                CAST(:reasons AS text[]), CAST(:moments AS timestamptz[]))
         AS rows (key, version, value, reason, as_of)
    ORDER BY key
    ON CONFLICT (watch_key) DO UPDATE
    SET version = excluded.version, value = excluded.value, reason = excluded.reason, as_of = excluded.as_of
    WHERE known.version < excluded.version
    RETURNING watch_key
    """
)


async def lock_values(tx: AsyncConnection, watch_keys: Iterable[str]) -> dict[str, Measured]:
    """Lock the values of these watches and return those that are known."""
    rows = await tx.execute(_LOCK_VALUES, {"keys": sorted(set(watch_keys))})
    return {
        row.watch_key: Measured(row.version, row.value, row.reason, row.as_of) for row in rows if row.as_of is not None
    }


async def store_values(tx: AsyncConnection, values: Mapping[str, Measured]) -> set[str]:
    """Store announced values and return the keys of those that were newer than what was known; all are locked."""
    keys = list(values)
    stored = await tx.execute(
        _STORE_VALUES,
        {
            "keys": keys,
            "versions": [values[key].version for key in keys],
            "values": [values[key].value for key in keys],
            "reasons": [values[key].reason for key in keys],
            "moments": [values[key].as_of for key in keys],
        },
    )
    return set(stored.scalars())


async def lock_watching(tx: AsyncConnection, watch_keys: Iterable[str]) -> list[Standing]:
    """Return, locked, the targets that depend on these watches."""
    return await _rows(
        tx, _ordered().where(progress.c.watch_key.in_(list(watch_keys)), ~progress.c.deleted).with_for_update()
    )


async def lock_of_goal(tx: AsyncConnection, goal_id: UUID) -> list[Standing]:
    """Return, locked, everything that was ever measured for a goal, tombstones too."""
    return await _rows(tx, _ordered().where(progress.c.goal_id == goal_id).with_for_update())


async def lock_undecided(
    tx: AsyncConnection, today: date, after: tuple[UUID, str] | None, limit: int
) -> list[Standing]:
    """Return, locked, measured targets behind `after` whose state may change as days pass; skips what is busy."""
    query = _ordered().where(
        ~progress.c.deleted,
        progress.c.as_of.is_not(None),
        progress.c.period_start <= today,
        progress.c.state.in_(("on_track", "at_risk")),
    )
    if after is not None:
        query = query.where(tuple_(progress.c.goal_id, progress.c.holder) > tuple_(*after))
    return await _rows(tx, query.limit(limit).with_for_update(skip_locked=True))


async def save(tx: AsyncConnection, rows: Sequence[Standing]) -> None:
    """Insert or replace rows, one statement; the caller has locked those that exist."""
    if not rows:
        return
    statement = insert(progress).values([to_row(row) for row in rows])
    kept = {name: statement.excluded[name] for name in Standing.__dataclass_fields__}
    await tx.execute(statement.on_conflict_do_update(index_elements=["goal_id", "holder"], set_=kept))


async def of_goals(tx: AsyncConnection, goal_ids: Sequence[UUID]) -> dict[UUID, Standing]:
    """Return the progress of each goal itself."""
    query = _ordered().where(progress.c.goal_id.in_(goal_ids), progress.c.holder == GOAL_HOLDER)
    return {row.goal_id: row for row in await _rows(tx, query)}


async def of_quotas(tx: AsyncConnection, quotas: Sequence[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], Standing]:
    """Return the progress of each quota, by goal id and person id."""
    keys = [(goal_id, str(person_id)) for goal_id, person_id in quotas]
    rows = await _rows(tx, _ordered().where(tuple_(progress.c.goal_id, progress.c.holder).in_(keys)))
    return {(row.goal_id, UUID(row.holder)): row for row in rows}


async def events(tx: AsyncConnection, targets: Sequence[tuple[UUID, str]]) -> list[GoalProgressed]:
    """Return the last announcement of each of these targets, by goal id and holder."""
    query = _ordered().where(tuple_(progress.c.goal_id, progress.c.holder).in_(targets), progress.c.version > 0)
    return [row.announced() for row in await _rows(tx, query)]


def _ordered() -> Select[Any]:
    return select(progress).order_by(progress.c.goal_id, progress.c.holder)


async def _rows(tx: AsyncConnection, query: Select[Any]) -> list[Standing]:
    return [to_standing(row) for row in await tx.execute(query)]


def to_standing(row: Row[Any]) -> Standing:
    """Return the value of a row."""
    return Standing(**{name: getattr(row, name) for name in Standing.__dataclass_fields__})


def to_row(value: Standing) -> dict[str, Any]:
    """Return the columns of a value."""
    return {name: getattr(value, name) for name in Standing.__dataclass_fields__}
