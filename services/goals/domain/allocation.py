"""A whole shared out by weight within bounds, exactly: x_i = clamp(k * w_i, lo_i, hi_i) with the x_i summing to it.

k is found on the sorted breakpoints lo/w and hi/w of a piecewise linear function, in Fractions. Then every x_i is
floored to whole units and the rest given by largest fraction, ties by stable key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Bound = Literal["min", "max"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What one participant may get: a weight and whole-unit bounds; `key` is stable and orders ties."""

    key: str
    weight: int
    lo: int
    hi: int


class InfeasibleBounds(ValueError):  # noqa: N818 - the name of the fact
    """The `bound` cannot hold: the whole is `gap` units below the sum of minima or above the sum of maxima."""

    def __init__(self, bound: Bound, gap: int) -> None:
        super().__init__(f"{bound} by {gap}")
        self.bound = bound
        self.gap = gap


def allocate(total: int, claims: Sequence[Claim]) -> list[int]:
    """Return the whole units of each claim, in order, summing to `total`; raises InfeasibleBounds."""
    _check(total, claims)
    level = _level(total, claims)
    exact = [min(max(level * claim.weight, Fraction(claim.lo)), Fraction(claim.hi)) for claim in claims]
    units = [share.numerator // share.denominator for share in exact]
    by_fraction = sorted(range(len(claims)), key=lambda n: (units[n] - exact[n], claims[n].key))
    for n in by_fraction[: total - sum(units)]:
        units[n] += 1
    return units


def at_bound(claim: Claim, units: int) -> Bound | None:
    """Tell which bound holds the claim at `units`, if one does."""
    if units == claim.lo:
        return "min"
    return "max" if units == claim.hi else None


def _check(total: int, claims: Sequence[Claim]) -> None:
    lowest = sum(claim.lo for claim in claims)
    highest = sum(claim.hi if claim.weight else claim.lo for claim in claims)
    if total < lowest:
        raise InfeasibleBounds("min", lowest - total)
    if total > highest:
        raise InfeasibleBounds("max", total - highest)


def _level(total: int, claims: Sequence[Claim]) -> Fraction:
    """Return k: between two breakpoints the sum is `base + slope * k`."""
    base, slope, at = sum(claim.lo for claim in claims), 0, Fraction(0)
    for at, more_slope, more_base in _breakpoints(claims):
        if base + slope * at >= total:
            break
        slope += more_slope
        base += more_base
    return (total - base) / Fraction(slope) if slope else at


def _breakpoints(claims: Sequence[Claim]) -> list[tuple[Fraction, int, int]]:
    weighty = [claim for claim in claims if claim.weight]
    rises = [(Fraction(claim.lo, claim.weight), claim.weight, -claim.lo) for claim in weighty]
    stops = [(Fraction(claim.hi, claim.weight), -claim.weight, claim.hi) for claim in weighty]
    return sorted(rises + stops)
