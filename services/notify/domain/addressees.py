"""Who hears of an alert: the owner, or the manager who answers for the owner's team."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Team:
    """A team's place in the hierarchy."""

    parent_id: UUID | None
    manager_id: UUID | None


def manager_of(team_id: UUID | None, teams: Mapping[UUID, Team], of: UUID | None = None) -> UUID | None:
    """Return who manages `team_id`, or the nearest team above it that has a manager other than `of` themselves."""
    seen: set[UUID] = set()
    while team_id is not None and team_id in teams and team_id not in seen:
        seen.add(team_id)
        team = teams[team_id]
        if team.manager_id is not None and team.manager_id != of:
            return team.manager_id
        team_id = team.parent_id
    return None
