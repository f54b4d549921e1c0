"""Teams and people as goals owns them, and the events that tell the other services."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from services.goals.domain.membership import Memberships, team_on
from shared.events.goals import PersonChanged, Role, TeamChanged


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """A team; `manager_ref` is what the caller named the manager, `manager_id` the person once known."""

    id: UUID
    external_id: str
    name: str
    parent_id: UUID | None
    manager_id: UUID | None
    manager_ref: str | None
    version: int

    def changed(self, recorded_at: datetime) -> TeamChanged:
        """Return the event that tells this state."""
        return TeamChanged(
            version=self.version,
            recorded_at=recorded_at,
            team_id=self.id,
            external_id=self.external_id,
            parent_id=self.parent_id,
            manager_id=self.manager_id,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A person; ability and availability in basis points, `name` is personal and null once erased."""

    id: UUID
    external_id: str
    name: str | None
    role: Role
    memberships: Memberships
    ability_bp: int
    experience_months: int
    availability_bp: int
    active: bool
    version: int

    def team_on(self, day: date) -> UUID | None:
        return team_on(self.memberships, day)

    def changed(self, recorded_at: datetime) -> PersonChanged:
        """Return the event that tells this state, without the name."""
        return PersonChanged(
            version=self.version,
            recorded_at=recorded_at,
            person_id=self.id,
            external_id=self.external_id,
            role=self.role,
            memberships=self.memberships,
        )


def next_version(previous: int, now: datetime) -> int:
    """Return the version of a new state: it grows, and follows the clock in microseconds."""
    return max(previous + 1, int(now.timestamp()) * 1_000_000 + now.microsecond)


def would_loop(team_id: UUID, parent_id: UUID, parents: Mapping[UUID, UUID | None]) -> bool:
    """Tell whether `parent_id` is `team_id` or below it, given every team's parent."""
    above: UUID | None = parent_id
    while above is not None and above != team_id:
        above = parents.get(above)
    return above == team_id
