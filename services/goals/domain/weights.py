"""What a person can carry: ability, experience and availability, each in basis points, multiplied.

- ability 0..100 counts 50 % to 150 %: 50 is the ordinary one, nobody counts nothing;
- experience is the ramp of a new seller by months, 40 % below 3, 60 % below 6, 80 % below 12, then 100 % and rising
  towards 120 %: 100 % + 20 % * m / (m + 60) with m the months above 12;
- availability is the share of full time, times the share of the period's working days in the scope.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from services.goals.domain.numbers import BASIS_POINTS
from shared.calendar import BusinessCalendar

_RAMP = ((3, 4_000), (6, 6_000), (12, 8_000))
_RAMPED_MONTHS = 12
_SENIORITY_BP = 2_000
_SENIORITY_HALF_MONTHS = 60


@dataclass(frozen=True, slots=True)
class Weight:
    """The three factors in basis points, and their product as the exact share-out weight."""

    ability_bp: int
    experience_bp: int
    presence_bp: int
    availability_bp: int

    @property
    def product(self) -> int:
        return self.ability_bp * self.experience_bp * self.availability_bp

    @property
    def value(self) -> Fraction:
        """The product as a number: 1 is ordinary ability, fully ramped, full time."""
        return Fraction(self.product, BASIS_POINTS**3)


def ability_factor(ability_bp: int) -> int:
    """Return the factor (basis points) of an ability of 0..10,000 basis points."""
    return BASIS_POINTS // 2 + ability_bp


def experience_factor(months: int) -> int:
    """Return the factor (basis points) of so many months in the job."""
    for below, factor in _RAMP:
        if months < below:
            return factor
    above = months - _RAMPED_MONTHS
    return BASIS_POINTS + _SENIORITY_BP * above // (above + _SENIORITY_HALF_MONTHS)


def presence(calendar: BusinessCalendar, present: Iterable[tuple[date, date]], start: date, end: date) -> int:
    """Return the share (basis points) of the working days of `[start, end)` that the `present` ranges cover.

    A period without a working day is measured in calendar days.
    """
    ranges = list(present)
    whole = calendar.working_days(start, end)
    if not whole:
        return BASIS_POINTS * sum((last - first).days for first, last in ranges) // (end - start).days
    return BASIS_POINTS * sum(calendar.working_days(first, last) for first, last in ranges) // whole


def weight_of(ability_bp: int, experience_months: int, availability_bp: int, presence_bp: int) -> Weight:
    """Return what a person of this ability, experience and availability carries."""
    return Weight(
        ability_factor(ability_bp),
        experience_factor(experience_months),
        presence_bp,
        availability_bp * presence_bp // BASIS_POINTS,
    )
