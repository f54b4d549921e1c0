"""Results against quotas, summed from people up through their teams."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from services.goals.domain.numbers import ratio


@dataclass(frozen=True, slots=True)
class Attained:
    """One person's quota and result, null while kpi has not told any."""

    team_id: UUID | None
    quota: Decimal
    result: Decimal | None


@dataclass(frozen=True, slots=True)
class TeamAttainment:
    """The sums over everybody in a team and below it; `unmeasured` people count nothing in `result`."""

    team_id: UUID | None
    people: int
    unmeasured: int
    quota: Decimal
    result: Decimal | None

    @property
    def attainment(self) -> Decimal | None:
        return None if self.result is None else ratio(self.result, self.quota)


def by_team(
    attained: Iterable[Attained], parents: Mapping[UUID, UUID | None], top: UUID | None = None
) -> list[TeamAttainment]:
    """Return one sum for every team with people in or below it, up to `top` (None: up to the roots).

    People without a team are summed under None.
    """
    found: dict[UUID | None, list[Attained]] = {}
    for each in attained:
        for team_id in _upwards(each.team_id, parents, top):
            found.setdefault(team_id, []).append(each)
    return [_sum(team_id, people) for team_id, people in found.items()]


def subtree(top: UUID, parents: Mapping[UUID, UUID | None]) -> set[UUID]:
    """Return `top` and every team below it."""
    return {team_id for team_id in parents if top in _upwards(team_id, parents, top)}


def child_of(top: UUID | None, team_id: UUID | None, parents: Mapping[UUID, UUID | None]) -> UUID | None:
    """Return the child of `top` (None: the root) that `team_id` is in or below; `top` itself for its own people."""
    line = _upwards(team_id, parents, top)
    return line[-2] if len(line) > 1 and line[-1] == top else line[-1]


def _upwards(team_id: UUID | None, parents: Mapping[UUID, UUID | None], top: UUID | None) -> list[UUID | None]:
    line = [team_id]
    while line[-1] is not None and line[-1] != top and (above := parents.get(line[-1])) is not None:
        line.append(above)
    return line


def _sum(team_id: UUID | None, people: list[Attained]) -> TeamAttainment:
    results = [each.result for each in people if each.result is not None]
    return TeamAttainment(
        team_id,
        len(people),
        len(people) - len(results),
        sum((each.quota for each in people), Decimal(0)),
        sum(results[1:], results[0]) if results else None,
    )
