"""The course of a deal: what a fold remembers of its stream, and how each event changes it.

A fold reads only the event and the course so far, never the clock: that is what makes live equal to rebuilt.
"""

from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from services.kpi.domain.days import local_day_number
from shared.events.pipeline import DealCourseCorrected, DealCreated, DealEvent, DealMoved, StageEntry, StageKind
from shared.money import exponent

WON_RANK = 1 << 30
LOST_RANK = -1


class Visit(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One stay in a stage: when it began (null: nobody knows), who owned the deal then, what the move skipped.

    `day` is the local day of `entered_at`, UNDATED for none; `passed` holds code and order of each skipped open stage.
    """

    stage: str
    kind: StageKind
    order: int
    entered_at: datetime | None
    day: int
    owner: str | None
    passed: tuple[tuple[str, int], ...] = ()

    @property
    def rank(self) -> int:
        """How far this visit is along the process: won is behind every open stage, lost is no progress."""
        if self.kind == "open":
            return self.order
        return WON_RANK if self.kind == "won" else LOST_RANK


class DealCourse(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A deal as far as KPIs need it; `amount` is in minor units of `currency`.

    `known_at` is the recorded time of the newest event, never going back within a stream.
    """

    visits: tuple[Visit, ...]
    process: str
    owner: str | None
    amount: int | None
    currency: str | None
    product: str | None
    source: str | None
    deleted: bool
    known_at: datetime

    @property
    def credited(self) -> str | None:
        """Who the deal counts for: its owner while it is open, the owner at its closing afterwards."""
        last = self.visits[-1]
        return self.owner if last.kind == "open" else last.owner


def fold(course: DealCourse | None, event: DealEvent, zone: ZoneInfo) -> DealCourse:
    """Return the course after `event`, days local in `zone`; `course` is null before the first event.

    Raises MoneyError for an amount in what is no currency: the event is at fault, and no answer could write it.
    """
    deal = event.deal
    has_money = deal.amount is not None and deal.currency is not None
    if deal.currency is not None:
        exponent(deal.currency)
    return DealCourse(
        visits=_visits(course.visits if course else (), event, zone),
        process=deal.process,
        owner=deal.owner,
        amount=deal.amount if has_money else None,
        currency=deal.currency if has_money else None,
        product=deal.product,
        source=deal.source,
        deleted=deal.status == "deleted",
        known_at=max(course.known_at, event.recorded_at) if course else event.recorded_at,
    )


def _visits(visits: tuple[Visit, ...], event: DealEvent, zone: ZoneInfo) -> tuple[Visit, ...]:
    stage, owner = event.deal.stage, event.deal.owner
    if isinstance(event, DealCourseCorrected):
        return _corrected(visits, event, zone)
    if isinstance(event, DealMoved):
        return (*visits, _visit(StageEntry(stage, event.occurred_at, event.passed), owner, zone))
    if isinstance(event, DealCreated) or not visits:
        return (_visit(StageEntry(stage, event.occurred_at), owner, zone),)
    return visits


def _visit(entry: StageEntry, owner: str | None, zone: ZoneInfo) -> Visit:
    stage = entry.stage
    passed = tuple((skipped.code, skipped.order) for skipped in entry.passed if skipped.kind == "open")
    return Visit(stage.code, stage.kind, stage.order, entry.at, local_day_number(entry.at, zone), owner, passed)


def _corrected(visits: tuple[Visit, ...], event: DealCourseCorrected, zone: ZoneInfo) -> tuple[Visit, ...]:
    """Replace all visits; one that keeps its place and stage keeps the owner who was credited with it."""
    owners = {(place, visit.stage): visit.owner for place, visit in enumerate(visits)}
    return tuple(
        _visit(entry, owners.get((place, entry.stage.code), event.deal.owner), zone)
        for place, entry in enumerate(event.course)
    )
