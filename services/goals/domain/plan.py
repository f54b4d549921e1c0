"""The plan of a goal: its target shared out to people by what each can carry, every share explained."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from typing import Any
from uuid import UUID

from services.goals.domain.allocation import Bound, Claim, InfeasibleBounds, allocate, at_bound
from services.goals.domain.numbers import from_units, ratio, text_of, to_units
from services.goals.domain.weights import Weight

_FACTOR_PLACES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """Someone who takes part in the plan, as they are in its period."""

    person_id: UUID
    external_id: str
    name: str | None
    team_id: UUID | None
    ability_bp: int
    experience_months: int
    availability_bp: int
    weight: Weight


@dataclass(frozen=True, slots=True)
class Bounds:
    """Least and most of anybody's share, as multiples of the even share by availability."""

    min: Decimal = Decimal("0.60")
    max: Decimal = Decimal("1.60")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """A participant's share of the target with what explains it; numbers have the places of the goal's unit."""

    participant: Participant
    quota: Decimal
    share: Decimal | None
    lo: Decimal
    hi: Decimal
    at_bound: Bound | None

    def explanation(self) -> dict[str, Any]:
        """Return what the quota is made of, decimals as texts: the three factors multiply to the weight."""
        who, weight = self.participant, self.participant.weight
        return {
            "share": None if self.share is None else text_of(self.share),
            "weight": text_of(Decimal(weight.product).scaleb(-3 * _FACTOR_PLACES).normalize()),
            "ability": {"value": who.ability_bp // 100, "factor": _factor(weight.ability_bp)},
            "experience": {"months": who.experience_months, "factor": _factor(weight.experience_bp)},
            "availability": {
                "value": _factor(who.availability_bp),
                "presence": _factor(weight.presence_bp),
                "factor": _factor(weight.availability_bp),
            },
            "bounds": {"lo": text_of(self.lo), "hi": text_of(self.hi), "at_bound": self.at_bound},
        }


class NoCapacity(ValueError):  # noqa: N818 - the name of the fact
    """Nobody takes part, or nobody who does is available."""


class BoundsDoNotHold(ValueError):  # noqa: N818
    """The `bound` must give way by `gap` of the target's unit."""

    def __init__(self, bound: Bound, gap: Decimal) -> None:
        super().__init__(f"{bound} by {gap}")
        self.bound = bound
        self.gap = gap


def plan(target: Decimal, places: int, participants: Sequence[Participant], bounds: Bounds) -> list[Quota]:
    """Return everybody's quota, in the order given, summing to `target` exactly.

    Raises NoCapacity and BoundsDoNotHold.
    """
    total = to_units(target, places)
    claims = _claims(total, participants, bounds)
    try:
        units = allocate(total, claims)
    except InfeasibleBounds as infeasible:
        raise BoundsDoNotHold(infeasible.bound, from_units(infeasible.gap, places)) from infeasible
    return [
        Quota(
            participant=participant,
            quota=from_units(mine, places),
            share=ratio(Decimal(mine), Decimal(total)),
            lo=from_units(claim.lo, places),
            hi=from_units(claim.hi, places),
            at_bound=at_bound(claim, mine),
        )
        for participant, claim, mine in zip(participants, claims, units, strict=True)
    ]


def _factor(basis_points: int) -> str:
    return text_of(Decimal(basis_points).scaleb(-_FACTOR_PLACES))


def _claims(total: int, participants: Sequence[Participant], bounds: Bounds) -> list[Claim]:
    """Bounds are widened to whole units, so that 1.00 to 1.00 can always be met."""
    capacity = sum(each.weight.availability_bp for each in participants)
    if not capacity:
        raise NoCapacity
    even = [Fraction(total * each.weight.availability_bp, capacity) for each in participants]
    return [
        Claim(
            str(each.person_id),
            each.weight.product,
            floor(Fraction(bounds.min) * mine),
            ceil(Fraction(bounds.max) * mine),
        )
        for each, mine in zip(participants, even, strict=True)
    ]
