"""What kpi and goals announced last: values of rolling watches, states of goals."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notify.store.tables import GOAL_STANDING, WATCHED_VALUE
from shared.events.goals import GoalProgressed, GoalState
from shared.events.kpi import ValueAnnounced


async def keep_newest(tx: AsyncConnection, events: Sequence[ValueAnnounced]) -> set[str]:
    """Store values (one per stream) and return the streams whose value was newer than the stored one."""
    if not events:
        return set()
    query = insert(WATCHED_VALUE).values([_to_row(event) for event in sorted(events, key=lambda e: e.stream)])
    query = query.on_conflict_do_update(
        index_elements=["stream"],
        set_={"version": query.excluded.version, "event": query.excluded.event},
        where=query.excluded.version > WATCHED_VALUE.c.version,
    )
    return set((await tx.execute(query.returning(WATCHED_VALUE.c.stream))).scalars())


async def newest_periods(tx: AsyncConnection, watch_keys: Collection[str]) -> set[str]:
    """Return, of the values of these watches, the streams of the newest period of each currency."""
    place = func.row_number().over(
        partition_by=(WATCHED_VALUE.c.watch_key, WATCHED_VALUE.c.currency),
        order_by=WATCHED_VALUE.c.period_start.desc(),
    )
    ranked = select(WATCHED_VALUE.c.stream, place.label("place")).where(WATCHED_VALUE.c.watch_key.in_(watch_keys))
    found = ranked.subquery()
    return set((await tx.execute(select(found.c.stream).where(found.c.place == 1))).scalars())


async def hold(tx: AsyncConnection, watch_key: str) -> Sequence[ValueAnnounced]:
    """Return the present values of a watch; nobody can announce another one before the transaction ends."""
    query = select(WATCHED_VALUE).where(WATCHED_VALUE.c.watch_key == watch_key).order_by(WATCHED_VALUE.c.stream)
    rows = (await tx.execute(query.with_for_update(read=True))).all()
    newest = await newest_periods(tx, [watch_key])
    return [msgspec.convert(row.event, ValueAnnounced) for row in rows if row.stream in newest]


async def change_standings(tx: AsyncConnection, events: Sequence[GoalProgressed]) -> Mapping[str, GoalState | None]:
    """Store the states of goals (one event per stream) and return, for each newer one, the state known before."""
    streams = [event.stream for event in events]
    query = select(GOAL_STANDING).where(GOAL_STANDING.c.stream.in_(streams)).order_by(GOAL_STANDING.c.stream)
    known = {row.stream: row for row in await tx.execute(query.with_for_update())}
    newer = [event for event in events if event.stream not in known or known[event.stream].version < event.version]
    if newer:
        rows = [{"stream": event.stream, "version": event.version, "state": event.state} for event in newer]
        change = insert(GOAL_STANDING).values(sorted(rows, key=lambda row: str(row["stream"])))
        values = {"version": change.excluded.version, "state": change.excluded.state}
        await tx.execute(change.on_conflict_do_update(index_elements=["stream"], set_=values))
    return {event.stream: known[event.stream].state if event.stream in known else None for event in newer}


def _to_row(event: ValueAnnounced) -> dict[str, Any]:
    return {
        "stream": event.stream,
        "version": event.version,
        "watch_key": event.watch.key,
        "currency": event.currency,
        "period_start": event.period_start,
        "event": msgspec.to_builtins(event),
    }
