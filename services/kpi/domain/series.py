"""From the sums of buckets to one sum per period: flows as they are, gauges accumulated."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from services.kpi.domain.definitions import NOTHING, Sums

Group = tuple[str | int, ...]


UNDATED_BUCKET = -1


class Bucket(NamedTuple):
    """Sums of a group: number 0 is before the first period, k >= 1 the k-th period, UNDATED_BUCKET has no day."""

    group: Group
    owner: int
    number: int
    sums: Sums


@dataclass(slots=True)
class Series:
    """One sum per period, and what has no day."""

    periods: list[Sums]
    undated: Sums = NOTHING

    def plus(self, other: "Series") -> "Series":
        periods = [mine.plus(theirs) for mine, theirs in zip(self.periods, other.periods, strict=True)]
        return Series(periods, self.undated.plus(other.undated))


def flows(buckets: Iterable[Bucket], length: int) -> dict[Group, Series]:
    """Return for each group what happened within each of `length` periods."""
    found: dict[Group, Series] = {}
    for bucket in buckets:
        series = found.setdefault(bucket.group, Series([NOTHING] * length))
        if bucket.number == UNDATED_BUCKET:
            series.undated = series.undated.plus(bucket.sums)
        else:
            series.periods[bucket.number - 1] = series.periods[bucket.number - 1].plus(bucket.sums)
    return found


def gauges(buckets: Iterable[Bucket], ends: Sequence[int], belongs: Callable[[int, int], bool]) -> dict[Group, Series]:
    """Return for each group what stands at the end of each period (`ends`: the day numbers behind the last days).

    `belongs(owner, end)` tells whether an owner counts at that end: who joins a team brings everything along.
    """
    found: dict[Group, Series] = {}
    by_owner: dict[tuple[Group, int], list[Sums]] = {}
    for bucket in buckets:
        series = found.setdefault(bucket.group, Series([NOTHING] * len(ends)))
        if bucket.number == UNDATED_BUCKET:
            series.undated = series.undated.plus(bucket.sums)
        else:
            changes = by_owner.setdefault((bucket.group, bucket.owner), [NOTHING] * (len(ends) + 1))
            changes[bucket.number] = changes[bucket.number].plus(bucket.sums)
    for (group, owner), changes in by_owner.items():
        for number, sums in enumerate(list(accumulate(changes, Sums.plus))[1:]):
            if belongs(owner, ends[number]):
                found[group].periods[number] = found[group].periods[number].plus(sums)
    return found
