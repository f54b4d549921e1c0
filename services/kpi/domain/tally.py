"""What a batch of events changes: courses, facts told and taken back, cells. Live, rebuild and verify all use it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from services.kpi.domain.course import DealCourse, fold
from services.kpi.domain.facts import Dims, Fact, facts
from shared.events.pipeline import DealEvent

CellKey = tuple[int, str | None, int, Dims]
"""Measure, owner key (empty: nobody's; null: the organisation), day and dims: a plain tuple, made for each fact."""


class ToldFact(msgspec.Struct, gc=False):
    """A fact known from `known_from` (as of `version` of its stream) until it was taken back, or until now."""

    stream: str
    version: int
    fact: Fact
    known_from: datetime
    known_to: datetime | None = None


class TakenFact(NamedTuple):
    """A fact of an earlier batch that is no longer true since `known_to`."""

    stream: str
    measure: int
    place: int
    known_to: datetime


class Change(NamedTuple):
    """What is added to a cell; `cause` is the number of the last event that did it."""

    num: int
    den: int
    n: int
    cause: int


class Tally:
    """Folds events one by one and keeps the difference that they make, each fact counted for its owner and for all."""

    def __init__(self, zone: ZoneInfo, known: Mapping[str, DealCourse]) -> None:
        self._zone = zone
        self._known = known
        self._facts: dict[str, tuple[Fact, ...]] = {}
        self._told_now: dict[tuple[str, int, int], ToldFact] = {}
        self.courses: dict[str, DealCourse] = {}
        self.told: list[ToldFact] = []
        self.taken: list[TakenFact] = []
        # By owner: num, den, n and the number of the last event.
        self._cells: dict[CellKey, list[int]] = {}

    @property
    def touched(self) -> Collection[CellKey]:
        """The owners' cells of all facts told and taken back, also where they cancel out."""
        return self._cells.keys()

    def add(self, stream: str, event: DealEvent, number: int = 0) -> None:
        """Fold the next event of `stream`; `number` says which event of the batch it is."""
        course = self.courses.get(stream) or self._known.get(stream)
        before = self._facts[stream] if stream in self._facts else facts(course)
        course = fold(course, event, self._zone)
        after = facts(course)
        self.courses[stream] = course
        self._facts[stream] = after
        if after != before:
            gone, new = difference(before, after)
            if gone:
                self._take(stream, course.known_at, gone, number)
            self._tell(stream, event.version, course.known_at, new, number)

    def changes(self) -> dict[CellKey, Change]:
        """Return what is to be added to each cell, owners' and the organisation's; what cancels out is left out."""
        found: dict[CellKey, Change] = {}
        whole: dict[CellKey, list[int]] = {}
        for key, (num, den, n, cause) in self._cells.items():
            if num or den or n:
                found[key] = Change(num, den, n, cause)
                measure, _, day, dims = key
                sums = whole.get(everybody := (measure, None, day, dims))
                if sums is None:
                    whole[everybody] = [num, den, n, cause]
                else:
                    _add(sums, num, den, n, max(sums[3], cause))
        found.update((key, Change(*sums)) for key, sums in whole.items() if sums[0] or sums[1] or sums[2])
        return found

    def _take(self, stream: str, known_to: datetime, gone: Iterable[Fact], number: int) -> None:
        for fact in gone:
            told = self._told_now.pop((stream, fact.measure, fact.place), None)
            if told is None:
                self.taken.append(TakenFact(stream, fact.measure, fact.place, known_to))
            else:
                told.known_to = known_to
            self._count(fact, -1, number)

    def _tell(self, stream: str, version: int, known_from: datetime, new: Iterable[Fact], number: int) -> None:
        told_now, told = self._told_now, self.told
        for fact in new:
            one = told_now[stream, fact.measure, fact.place] = ToldFact(stream, version, fact, known_from)
            told.append(one)
            self._count(fact, 1, number)

    def _count(self, fact: Fact, sign: int, number: int) -> None:
        key = (fact.measure, fact.owner, fact.day, fact.dims)
        sums = self._cells.get(key)
        if sums is None:
            self._cells[key] = [sign * fact.num, sign * fact.den, sign * fact.n, number]
        else:
            _add(sums, sign * fact.num, sign * fact.den, sign * fact.n, number)


def _add(sums: list[int], num: int, den: int, n: int, cause: int) -> None:
    sums[0] += num
    sums[1] += den
    sums[2] += n
    sums[3] = cause


def difference(before: Sequence[Fact], after: Sequence[Fact]) -> tuple[list[Fact], list[Fact]]:
    """Return the facts that are only in `before`, and those only in `after`.

    Most events change the last visit only: what both begin with is passed over without hashing it.
    """
    same = 0
    for mine, theirs in zip(before, after, strict=False):
        if mine != theirs:
            break
        same += 1
    left, right = before[same:], after[same:]
    if not left or not right:
        return [*left], [*right]
    kept = set(left).intersection(right)
    return [fact for fact in left if fact not in kept], [fact for fact in right if fact not in kept]
