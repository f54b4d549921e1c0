"""What a batch of events changes: courses, facts told and taken back, cells. Live, rebuild and verify all use it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from services.kpi.domain.course import DealCourse, fold
from services.kpi.domain.facts import Dims, Fact, facts
from shared.events.pipeline import DealEvent


class CellKey(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """`owner` is an owner key (empty: nobody's), or null for the whole organisation."""

    measure: int
    owner: str | None
    day: int
    dims: Dims


@dataclass(slots=True)
class ToldFact:
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

    def plus(self, other: "Change") -> "Change":
        return Change(self.num + other.num, self.den + other.den, self.n + other.n, max(self.cause, other.cause))


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

    def add(self, event: DealEvent, number: int = 0) -> None:
        """Fold the next event of its stream; `number` says which event of the batch it is."""
        stream = event.stream
        course = self.courses.get(stream) or self._known.get(stream)
        before = self._facts[stream] if stream in self._facts else facts(course)
        course = fold(course, event, self._zone)
        after = facts(course)
        self.courses[stream] = course
        self._facts[stream] = after
        if after != before:
            gone, new = difference(before, after)
            self._take(stream, course.known_at, gone, number)
            self._tell([ToldFact(stream, event.version, fact, course.known_at) for fact in new], number)

    def changes(self) -> dict[CellKey, Change]:
        """Return what is to be added to each cell, owners' and the organisation's; what cancels out is left out."""
        found = {key: Change(*sums) for key, sums in self._cells.items() if sums[0] or sums[1] or sums[2]}
        whole: dict[CellKey, Change] = {}
        for key, change in found.items():
            everybody = CellKey(key.measure, None, key.day, key.dims)
            before = whole.get(everybody)
            whole[everybody] = before.plus(change) if before else change
        found.update((key, change) for key, change in whole.items() if any(change[:3]))
        return found

    def _take(self, stream: str, known_to: datetime, gone: Iterable[Fact], number: int) -> None:
        for fact in gone:
            told = self._told_now.pop((stream, fact.measure, fact.place), None)
            if told is None:
                self.taken.append(TakenFact(stream, fact.measure, fact.place, known_to))
            else:
                told.known_to = known_to
            self._count(fact, -1, number)

    def _tell(self, new: Iterable[ToldFact], number: int) -> None:
        for told in new:
            self._told_now[told.stream, told.fact.measure, told.fact.place] = told
            self.told.append(told)
            self._count(told.fact, 1, number)

    def _count(self, fact: Fact, sign: int, number: int) -> None:
        sums = self._cells.setdefault(CellKey(fact.measure, fact.owner, fact.day, fact.dims), [0, 0, 0, 0])
        sums[0] += sign * fact.num
        sums[1] += sign * fact.den
        sums[2] += sign * fact.n
        sums[3] = number


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
    kept = set(left).intersection(right)
    return [fact for fact in left if fact not in kept], [fact for fact in right if fact not in kept]
