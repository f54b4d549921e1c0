"""A target as it stood when that was last announced, and whether it stands otherwise now."""

from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from services.goals.domain.goal import Goal
from services.goals.domain.kpis import KPIS
from services.goals.domain.numbers import text_of
from services.goals.domain.people import next_version
from services.goals.domain.progress import Measured, Progress, Thresholds, evaluate, working_time
from shared.calendar import BusinessCalendar, local_day
from shared.events.goals import GoalProgressed, GoalState

GOAL_HOLDER = "goal"


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What progress is measured with: whose working days count, and when a pace is a risk."""

    calendar: BusinessCalendar
    thresholds: Thresholds

    def today(self, now: datetime) -> date:
        return local_day(now, self.calendar.zone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One target, of a goal (holder `goal`) or of a person's quota (holder is the person's id).

    `version` is that of the last announcement, 0 before the first.
    """

    goal_id: UUID
    holder: str
    kpi: str
    scope: str
    period_start: date
    period_end: date
    currency: str | None
    target: Decimal
    watch_key: str
    recorded_at: datetime
    value_version: int = 0
    result: Decimal | None = None
    reason: str | None = None
    as_of: datetime | None = None
    attainment: Decimal | None = None
    pace: Decimal | None = None
    state: GoalState = "on_track"
    state_before: GoalState | None = None
    version: int = 0
    deleted: bool = False

    @property
    def person_id(self) -> UUID | None:
        return None if self.holder == GOAL_HOLDER else UUID(self.holder)

    @property
    def measured(self) -> Measured | None:
        """What kpi last announced for this target."""
        if self.as_of is None:
            return None
        return Measured(self.value_version, self.result, self.reason, self.as_of)

    def progress(self, yardstick: Yardstick, now: datetime) -> Progress:
        """Return the progress as it is at `now`, whether that was announced or not."""
        return evaluate(
            KPIS[self.kpi],
            self.target,
            self.measured,
            working_time(yardstick.calendar, self.period_start, self.period_end, yardstick.today(now)),
            yardstick.thresholds,
            self.state if self.version else None,
        )

    def updated(
        self, yardstick: Yardstick, now: datetime, *, target: Decimal | None = None, measured: Measured | None = None
    ) -> "Standing":
        """Return the standing at `now`, towards `target` and after kpi told `measured` where those are given.

        It has a new version when target, result, attainment or state are news; a withdrawn one is in force again.
        """
        taken = replace(self, deleted=False, target=self.target if target is None else target)
        if measured is not None and measured.version > self.value_version:
            taken = replace(
                taken,
                value_version=measured.version,
                result=measured.value,
                reason=measured.reason,
                as_of=measured.as_of,
            )
        if taken.measured is None and not self.version:
            return taken
        found = taken.progress(yardstick, now)
        told = (self.version > 0, self.deleted, self.target, self.result, self.attainment, self.state)
        if told == (True, False, taken.target, taken.result, found.attainment, found.state):
            return taken
        return taken._announcing(found, now)

    def withdrawn(self, now: datetime) -> "Standing":
        """Return the tombstone: the target is no more; one that nobody was told of needs no announcement."""
        version = next_version(self.version, now) if self.version else 0
        return replace(self, deleted=True, version=version, recorded_at=now)

    def announced(self) -> GoalProgressed:
        """Return the event of this version."""
        return GoalProgressed(
            version=self.version,
            recorded_at=self.recorded_at,
            deleted=self.deleted,
            goal_id=self.goal_id,
            person_id=self.person_id,
            kpi=self.kpi,
            scope=self.scope,
            period_start=self.period_start,
            period_end=self.period_end,
            target=text_of(self.target),
            result=_optional_text(self.result),
            attainment=_optional_text(self.attainment),
            pace=_optional_text(self.pace),
            state=self.state,
            state_before=self.state_before,
            currency=self.currency,
        )

    def _announcing(self, found: Progress, now: datetime) -> "Standing":
        return replace(
            self,
            attainment=found.attainment,
            pace=found.pace,
            state=found.state,
            state_before=self.state if self.version else None,
            version=next_version(self.version, now),
            recorded_at=now,
        )


def standing_of(goal: Goal, target: Decimal, now: datetime, person_id: UUID | None = None) -> Standing:
    """Return the standing of a new target: the goal's own, or the quota of a person."""
    scope = goal.scope if person_id is None else f"person:{person_id}"
    return Standing(
        goal_id=goal.id,
        holder=GOAL_HOLDER if person_id is None else str(person_id),
        kpi=goal.kpi.key,
        scope=scope,
        period_start=goal.period.start,
        period_end=goal.period.end,
        currency=goal.currency,
        target=target,
        watch_key=goal.watch(scope).key,
        recorded_at=now,
    )


def _optional_text(number: Decimal | None) -> str | None:
    return None if number is None else text_of(number)
