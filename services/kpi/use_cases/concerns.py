"""Which watches a set of marks concerns, and under which cause each would be announced."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.domain.days import day_number
from services.kpi.domain.definitions import DEFINITIONS
from services.kpi.domain.periods import watched_period
from services.kpi.store.marks import Mark
from services.kpi.store.scopes import scopes_of
from services.kpi.store.watches import watches_of
from shared.auth.directory import ORGANISATION
from shared.events.kpi import Watch
from shared.tracing import Cause


@dataclass(frozen=True, slots=True)
class Concern:
    """Why a watch is looked at; `forced`: somebody new wants to hear of it, changed or not."""

    cause: Cause
    forced: bool


async def concerns_of(tx: AsyncConnection, marks: Sequence[Mark], today: date) -> dict[str, Concern]:
    """Return the concern of each watch (by key) whose value `marks`, in order, may have changed."""
    latest = _widened(marks)
    owners = {mark.owner for mark in latest if mark.owner is not None}
    scopes = await scopes_of(tx, sorted(owners)) if owners else {}
    measures = {mark.measure for mark in latest}
    watches = await watches_of(
        tx,
        everything=any(mark.watch_key is None and mark.measure is None for mark in latest),
        keys={mark.watch_key for mark in latest if mark.watch_key is not None},
        kpis=[key for key, definition in DEFINITIONS.items() if definition.measure in measures],
        scopes={ORGANISATION}.union(*scopes.values()),
    )
    found: dict[str, Concern] = {}
    for watch in watches:
        concerning = [mark for mark in latest if _concerns(mark, watch, scopes, today)]
        if concerning:
            forced = any(mark.watch_key is not None for mark in concerning)
            found[watch.key] = Concern(concerning[-1].cause, forced)
    return found


def _widened(marks: Sequence[Mark]) -> list[Mark]:
    """Join the marks of the same measure and owner: all their days, the last one's cause and place."""
    joined: dict[tuple[str | None, int | None, int | None], Mark] = {}
    for mark in marks:
        place = (mark.watch_key, mark.measure, mark.owner)
        earlier = joined.pop(place, mark)
        joined[place] = mark._replace(
            first_day=min(mark.first_day, earlier.first_day), last_day=max(mark.last_day, earlier.last_day)
        )
    return list(joined.values())


def _concerns(mark: Mark, watch: Watch, scopes: Mapping[int, AbstractSet[str]], today: date) -> bool:
    if mark.watch_key is not None:
        return mark.watch_key == watch.key
    if mark.measure is None or mark.owner is None:
        return True
    definition = DEFINITIONS[watch.kpi]
    period = watched_period(watch, today)
    starts_before_end = mark.first_day < day_number(period.end)
    reaches_start = definition.kind == "gauge" or mark.last_day >= day_number(period.start)
    in_scope = watch.scope == ORGANISATION or watch.scope in scopes[mark.owner]
    return definition.measure == mark.measure and starts_before_end and reaches_start and in_scope
