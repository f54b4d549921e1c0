"""One alert of a KPI rule over time: quiet, pending for `for`, firing, and quiet again."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from services.notify.domain.conditions import KpiCondition


@dataclass(frozen=True, slots=True)
class Observation:
    """An announced value of the watch; a null value tells nothing."""

    value: Decimal | None
    sample_size: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Episode:
    """An open episode: firing, or pending until `due_at`."""

    firing: bool
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Transition:
    """What becomes of an episode and when; one that began is pending and fires at `at`."""

    kind: Literal["began", "fired", "lapsed", "resolved"]
    at: datetime


def advance(condition: KpiCondition, episode: Episode | None, seen: Observation) -> tuple[Transition, ...]:
    """Return the transitions that `seen` causes, in order; none while the value stays where it was or says nothing.

    The condition begins at its threshold and ends beyond threshold and hysteresis; `for` is measured over that time,
    so that a wobble within the band neither ends an alert nor restarts the wait for it.
    """
    due = (
        () if episode is None or episode.firing or episode.due_at > seen.at else (Transition("fired", episode.due_at),)
    )
    if seen.value is None or seen.sample_size < condition.min_sample_size:
        return due
    if episode is None:
        return _begin(condition, seen.value, seen.at)
    if condition.lasts(seen.value):
        return due
    fired = episode.firing or bool(due)
    return (*due, Transition("resolved" if fired else "lapsed", seen.at))


def _begin(condition: KpiCondition, value: Decimal, at: datetime) -> tuple[Transition, ...]:
    if not condition.begins(value):
        return ()
    held_for = condition.held_for
    return (Transition("began", at + held_for) if held_for else Transition("fired", at),)
