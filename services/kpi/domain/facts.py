"""The complete set of KPI facts of a deal, from its course alone.

A fact is one contribution to one measure on one day: `num`, `den` and `n` are added up in day cells, and a KPI is read
from those sums (definitions.py). `(measure, place)` names a fact within its deal for ever, so that the difference of
two sets is what an event changed. What nobody can date has the day UNDATED: it is counted there and nowhere else.
"""

from collections.abc import Iterator
from datetime import datetime

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
    """Return every fact of a deal: none before its first event and after its deletion."""
    if course is None or course.deleted:
        return ()
    return tuple(_Evaluation(course).facts())


class _Evaluation:
    """One reading of a course, with what all its facts share worked out once."""

    def __init__(self, course: DealCourse) -> None:
        self.course = course
        self.visits = course.visits
        self.owner = course.credited or UNASSIGNED
        self.days = [visit.day for visit in course.visits]
        self.currency = course.currency or ""

    def dims(self, stage: str = "", currency: str = "") -> Dims:
        course = self.course
        return Dims(course.process, stage, course.product or "", course.source or "", currency)

    def facts(self) -> Iterator[Fact]:
        yield Fact(CREATED, 0, self.days[0], self.owner, self.dims(), 0, 0, 1)
        for place, visit in enumerate(self.visits):
            yield Fact(ENTRIES, place, self.days[place], visit.owner or UNASSIGNED, self.dims(visit.stage), 0, 0, 1)
        yield from self.first_entries()
        yield from self.dwells()
        yield from self.openness()
        if self.visits[-1].kind != "open":
            yield from self.closing()

    def first_entries(self) -> Iterator[Fact]:
        """Each stage's first entry, actual or skipped by a forward move, and whether a later stage followed it."""
        best_from = _best_rank_from(self.visits)
        seen: set[str] = set()
        for place, visit in enumerate(self.visits):
            for code, order in visit.passed:
                if code not in seen:
                    later = int(best_from[place] > order)
                    yield Fact(REACHED, len(seen), self.days[place], self.owner, self.dims(code), later, 1, 1)
                    yield Fact(IMPLIED, len(seen), self.days[place], self.owner, self.dims(code), 0, 0, 1)
                    seen.add(code)
            if visit.stage not in seen:
                is_open = int(visit.kind == "open")
                later = int(best_from[place + 1] > visit.order) * is_open
                yield Fact(REACHED, len(seen), self.days[place], self.owner, self.dims(visit.stage), later, is_open, 1)
                seen.add(visit.stage)

    def dwells(self) -> Iterator[Fact]:
        """The visits to open stages that have ended; one whose begin or end is unknown is only counted, undated."""
        for place, (visit, following) in enumerate(zip(self.visits, self.visits[1:], strict=False)):
            if visit.kind == "open":
                dims = self.dims(visit.stage)
                if visit.entered_at is None or following.entered_at is None:
                    yield Fact(DWELL, place, UNDATED, self.owner, dims, 0, 1, 1)
                else:
                    seconds = _whole_seconds(visit.entered_at, following.entered_at)
                    yield Fact(DWELL, place, self.days[place + 1], self.owner, dims, seconds, 1, 1, seconds)

    def closing(self) -> Iterator[Fact]:
        """The present outcome: a deal that was reopened has none."""
        day, amount = self.days[-1], self.course.amount
        won = int(self.visits[-1].kind == "won")
        yield Fact(CLOSED, 0, day, self.owner, self.dims(), won, 1, 1)
        if not won:
            return
        if amount is not None:
            yield Fact(WON_VALUE, 0, day, self.owner, self.dims(currency=self.currency), amount, int(amount != 0), 1)
        if UNDATED in (day, self.days[0]):
            yield Fact(CYCLE, 0, UNDATED, self.owner, self.dims(), 0, 1, 1)
        else:
            yield Fact(CYCLE, 0, day, self.owner, self.dims(), max(day - self.days[0], 0), 1, 1)

    def openness(self) -> Iterator[Fact]:
        """From when to when the deal was open, stage by stage, with its present amount.

        A deal is known to be open from the first dated entry of a run of open visits. A run that ended at an unknown
        time, or whose begin nobody knows, is over and left out; one that lasts without any date is counted undated.
        """
        start = 0
        while start < len(self.visits):
            end = start
            while end < len(self.visits) and self.visits[end].kind == "open":
                end += 1
            yield from self._run(start, end)
            start = end + 1

    def _run(self, start: int, end: int) -> Iterator[Fact]:
        """One run of open visits `[start, end)`; a visit without a date is taken to begin with the one before it."""
        lasts = end == len(self.visits)
        first = next((place for place in range(start, end) if self.days[place] != UNDATED), None)
        if first is None:
            if lasts and start < end:
                yield self._opening(end - 1, UNDATED)
            return
        if not lasts and self.days[end] == UNDATED:
            return
        day = self.days[first]
        for place in range(first, end):
            day = max(day, self.days[place])
            yield self._opening(place, day)
            if place + 1 < len(self.visits):
                yield self._leaving(place, max(day, self.days[place + 1]))

    def _opening(self, place: int, day: int) -> Fact:
        dims = self.dims(self.visits[place].stage, self.currency)
        return Fact(OPEN_VALUE, 2 * place, day, self.owner, dims, self.course.amount or 0, 0, 1)

    def _leaving(self, place: int, day: int) -> Fact:
        dims = self.dims(self.visits[place].stage, self.currency)
        advanced = int(self.visits[place + 1].rank > self.visits[place].order)
        return Fact(OPEN_VALUE, 2 * place + 1, day, self.owner, dims, -(self.course.amount or 0), advanced, -1)


def _best_rank_from(visits: tuple[Visit, ...]) -> list[int]:
    """Return for each place how far the deal came from there on; one more for the place behind the last."""
    best = [-1] * (len(visits) + 1)
    for place in range(len(visits) - 1, -1, -1):
        best[place] = max(best[place + 1], visits[place].rank)
    return best


def _whole_seconds(start: datetime, end: datetime) -> int:
    """Return the whole seconds from `start` to `end`; none where the clocks ran backwards."""
    span = end - start
    return max(span.days * 86_400 + span.seconds, 0)
