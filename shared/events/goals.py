"""What goals announces: people, teams, API keys, goals with their quotas, and progress."""

from datetime import date, datetime
from typing import ClassVar, Literal
from uuid import UUID

import msgspec

from shared.events.base import Event, StateEvent
from shared.events.kpi import Watch

PEOPLE = "goals.people.v1"
GOALS = "goals.goals.v1"

Role = Literal["rep", "manager", "admin"]
GoalState = Literal["on_track", "at_risk", "reached", "missed"]


class Membership(msgspec.Struct, frozen=True):
    """A person's team over `[start, end)`; null means open at that side."""

    team_id: UUID
    start: date | None
    end: date | None


class TeamChanged(StateEvent, frozen=True, kw_only=True):
    """A team and its place in the hierarchy; its name stays with goals."""

    type: ClassVar[str] = "goals.team.changed.v1"
    topic: ClassVar[str] = PEOPLE
    source: ClassVar[str] = "/goals"

    team_id: UUID
    external_id: str
    parent_id: UUID | None = None
    manager_id: UUID | None = None

    @property
    def stream(self) -> str:
        return f"team:{self.team_id}"


class PersonChanged(StateEvent, frozen=True, kw_only=True):
    """A person as the other services need them: ids, role and teams over time; the name stays with goals."""

    type: ClassVar[str] = "goals.person.changed.v1"
    topic: ClassVar[str] = PEOPLE
    source: ClassVar[str] = "/goals"

    person_id: UUID
    external_id: str
    role: Role
    memberships: tuple[Membership, ...] = ()

    @property
    def stream(self) -> str:
        return f"person:{self.person_id}"


class ApiKeyChanged(StateEvent, frozen=True, kw_only=True):
    """What proves an API key and what it may do; `hash` is the SHA-256 of its secret in hexadecimal.

    A key that was taken back is a tombstone. Its name stays with goals, its secret with whom it was shown to.
    """

    type: ClassVar[str] = "goals.api_key.changed.v1"
    topic: ClassVar[str] = PEOPLE
    source: ClassVar[str] = "/goals"

    key_id: UUID
    hash: str
    role: Role
    person: str | None = None
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None

    @property
    def stream(self) -> str:
        return f"api_key:{self.key_id}"


class GoalChanged(StateEvent, frozen=True, kw_only=True):
    """A goal and everything of kpi that it depends on: `watches` is the whole present set."""

    type: ClassVar[str] = "goals.goal.changed.v1"
    topic: ClassVar[str] = GOALS
    source: ClassVar[str] = "/goals"

    goal_id: UUID
    kpi: str
    scope: str
    period_start: date
    period_end: date
    target: str
    currency: str | None = None
    watches: tuple[Watch, ...] = ()

    @property
    def stream(self) -> str:
        return f"goal:{self.goal_id}"


class GoalProgressed(StateEvent, frozen=True, kw_only=True):
    """How far a goal (or, with `person_id`, one quota of it) has come; decimals are texts."""

    type: ClassVar[str] = "goals.goal.progressed.v1"
    topic: ClassVar[str] = GOALS
    source: ClassVar[str] = "/goals"

    goal_id: UUID
    person_id: UUID | None = None
    kpi: str
    scope: str
    period_start: date
    period_end: date
    target: str
    result: str | None
    attainment: str | None
    pace: str | None
    state: GoalState
    state_before: GoalState | None = None
    currency: str | None = None

    @property
    def stream(self) -> str:
        return f"progress:{self.goal_id}:{self.person_id or 'goal'}"


EVENTS: tuple[type[Event], ...] = (TeamChanged, PersonChanged, ApiKeyChanged, GoalChanged, GoalProgressed)
