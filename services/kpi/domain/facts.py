"""The complete set of KPI facts of a deal, from its course alone.

A fact is one contribution to one measure on one day: `num`, `den` and `n` are added up in day cells, and a KPI is read
from those sums (definitions.py). `(measure, place)` names a fact within its deal for ever, so that the difference of
two sets is what an event changed. What nobody can date has the day UNDATED: it is counted there and nowhere else.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from services.kpi.domain.course import DealCourse, Visit
from services.kpi.domain.days import UNDATED

# Measures, by the number under which facts and cells keep them.
CREATED = 1  # n = deals
ENTRIES = 2  # n = entries into a stage, re-entries too
REACHED = 3  # n = first entries of distinct deals; den = those into open stages; num = of these, reached a later one
IMPLIED = 4  # n = first entries that were implied by skipping the stage
DWELL = 5  # num = whole seconds, den = closed visits
CLOSED = 6  # den = closed deals, num = won ones
WON_VALUE = 7  # num = minor units, den = deals with an amount other than zero, n = deals with a currency
CYCLE = 8  # num = local days from creation to won, den = won deals
OPEN_VALUE = 9  # num = minor units and n = deals that came (+) or left (-); den = exits to a later stage

UNASSIGNED = ""


class Dims(msgspec.Struct, frozen=True, gc=False, cache_hash=True, order=True):
    """What a fact can be sliced by beside its owner; empty where it does not apply or is not known."""

    process: str
    stage: str
    product: str
    source: str
    currency: str


class Fact(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """`owner` is an owner key, empty for a deal without owner; `duration` is in seconds where there is one."""

    measure: int
    place: int
    day: int
    owner: str
    dims: Dims
    num: int
    den: int
    n: int
    duration: int | None = None


def facts(course: DealCourse | None) -> tuple[Fact, ...]:
    """Return every fact of a deal, visit by visit: none before its first event and after its deletion."""
    if course is None or course.deleted:
        return ()
    return _Evaluation(course).facts()


class Standing(NamedTuple):
    """From which day to which (null: still) a deal is known to have stood open in a stage."""

    first: int
    last: int | None


class _Evaluation:
    """One reading of a course, with what all its facts share worked out once."""

    def __init__(self, course: DealCourse) -> None:
        self.course = course
        self.visits = course.visits
        self.owner = course.credited or UNASSIGNED
        self.best_from = _best_rank_from(course.visits)
        self.seen: set[str] = set()
        self.found: list[Fact] = []
        self.whole_deal = self.dims()

    def facts(self) -> tuple[Fact, ...]:
        self.add(CREATED, 0, self.visits[0].day, self.whole_deal, 0, 0, 1)
        stands = standings(self.visits)
        for place, visit in enumerate(self.visits):
            dims = self.dims(visit.stage)
            owner = visit.owner or UNASSIGNED
            self.found.append(Fact(ENTRIES, place, visit.day, owner, dims, 0, 0, 1))
            self.first_entry(place, visit, dims)
            if visit.kind == "open":
                self.stay(place, visit, dims)
                self.stand(place, visit, stands[place])
        if self.visits[-1].kind != "open":
            self.closing()
        return tuple(self.found)

    def dims(self, stage: str = "", currency: str = "") -> Dims:
        course = self.course
        return Dims(course.process, stage, course.product or "", course.source or "", currency)

    def add(self, measure: int, place: int, day: int, dims: Dims, num: int, den: int, n: int) -> None:
        self.found.append(Fact(measure, place, day, self.owner, dims, num, den, n))

    def first_entry(self, place: int, visit: Visit, dims: Dims) -> None:
        """A stage's first entry, actual or skipped by a forward move, and whether a later stage followed it."""
        seen = self.seen
        for code, order in visit.passed:
            if code not in seen:
                later = int(self.best_from[place] > order)
                self.add(REACHED, len(seen), visit.day, self.dims(code), later, 1, 1)
                self.add(IMPLIED, len(seen), visit.day, self.dims(code), 0, 0, 1)
                seen.add(code)
        if visit.stage not in seen:
            is_open = int(visit.kind == "open")
            later = int(self.best_from[place + 1] > visit.order) * is_open
            self.add(REACHED, len(seen), visit.day, dims, later, is_open, 1)
            seen.add(visit.stage)

    def stay(self, place: int, visit: Visit, dims: Dims) -> None:
        """A visit to an open stage that has ended; one whose begin or end is unknown is only counted, undated."""
        if place + 1 == len(self.visits):
            return
        following = self.visits[place + 1]
        if visit.entered_at is None or following.entered_at is None:
            self.add(DWELL, place, UNDATED, dims, 0, 1, 1)
        else:
            seconds = _whole_seconds(visit.entered_at, following.entered_at)
            self.found.append(Fact(DWELL, place, following.day, self.owner, dims, seconds, 1, 1, seconds))

    def stand(self, place: int, visit: Visit, standing: Standing | None) -> None:
        """The deal's present amount comes into the stage and leaves it."""
        if standing is None:
            return
        dims, amount = self.dims(visit.stage, self.course.currency or ""), self.course.amount or 0
        self.add(OPEN_VALUE, 2 * place, standing.first, dims, amount, 0, 1)
        if standing.last is not None:
            advanced = int(self.visits[place + 1].rank > visit.order)
            self.add(OPEN_VALUE, 2 * place + 1, standing.last, dims, -amount, advanced, -1)

    def closing(self) -> None:
        """The present outcome: a deal that was reopened has none."""
        day, created, amount = self.visits[-1].day, self.visits[0].day, self.course.amount
        won = int(self.visits[-1].kind == "won")
        self.add(CLOSED, 0, day, self.whole_deal, won, 1, 1)
        if not won:
            return
        if amount is not None:
            self.add(WON_VALUE, 0, day, self.dims(currency=self.course.currency or ""), amount, int(amount != 0), 1)
        if UNDATED in (day, created):
            self.add(CYCLE, 0, UNDATED, self.whole_deal, 0, 1, 1)
        else:
            self.add(CYCLE, 0, day, self.whole_deal, max(day - created, 0), 1, 1)


def standings(visits: Sequence[Visit]) -> list[Standing | None]:
    """Return for each visit from when to when the deal stood open in it; null where that cannot be told.

    A deal is known to be open from the first dated entry of a run of open visits. A run that ended at an unknown
    time, or whose begin nobody knows, is over and left out; one that lasts without any date has its last visit UNDATED.
    """
    found: list[Standing | None] = [None] * len(visits)
    start = 0
    while start < len(visits):
        end = start
        while end < len(visits) and visits[end].kind == "open":
            end += 1
        _stand_in_run(visits, start, end, found)
        start = end + 1
    return found


def _stand_in_run(visits: Sequence[Visit], start: int, end: int, found: list[Standing | None]) -> None:
    """One run of open visits `[start, end)`; a visit without a date is taken to begin with the one before it."""
    lasts = end == len(visits)
    first = next((place for place in range(start, end) if visits[place].day != UNDATED), None)
    if first is None:
        if lasts and start < end:
            found[end - 1] = Standing(UNDATED, None)
        return
    if not lasts and visits[end].day == UNDATED:
        return
    day = visits[first].day
    for place in range(first, end):
        day = max(day, visits[place].day)
        is_present = place + 1 == len(visits)
        found[place] = Standing(day, None if is_present else max(day, visits[place + 1].day))


def _best_rank_from(visits: Sequence[Visit]) -> list[int]:
    """Return for each place how far the deal came from there on; one more for the place behind the last."""
    best = [-1] * (len(visits) + 1)
    for place in range(len(visits) - 1, -1, -1):
        best[place] = max(best[place + 1], visits[place].rank)
    return best


def _whole_seconds(start: datetime, end: datetime) -> int:
    """Return the whole seconds from `start` to `end`; none where the clocks ran backwards."""
    span = end - start
    return max(span.days * 86_400 + span.seconds, 0)
