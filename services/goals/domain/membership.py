"""Who is in which team when: ranges of days without overlap, of which one change cuts and adds."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID

from shared.events.goals import Membership

Memberships = tuple[Membership, ...]


def joined(team_id: UUID | None, on: date | None = None) -> Memberships:
    """Return the memberships of a person who is new: in `team_id` since `on`, or since ever."""
    return (Membership(team_id, on, None),) if team_id else ()


def transferred(memberships: Memberships, team_id: UUID | None, on: date) -> Memberships:
    """Return the memberships when from `on` the person is in `team_id` (None: in no team).

    What was planned from `on` is replaced; what was before stays.
    """
    kept = [
        Membership(each.team_id, each.start, on if each.end is None or each.end > on else each.end)
        for each in memberships
        if each.start is None or each.start < on
    ]
    if team_id is None:
        return tuple(kept)
    if kept and kept[-1].team_id == team_id and kept[-1].end == on:
        return (*kept[:-1], Membership(team_id, kept[-1].start, None))
    return (*kept, Membership(team_id, on, None))


def team_on(memberships: Memberships, day: date) -> UUID | None:
    """Return the team of the person on `day`."""
    return next((each.team_id for each in memberships if holds(each, day)), None)


def holds(membership: Membership, day: date) -> bool:
    """Tell whether the membership is in force on `day`."""
    return (membership.start is None or membership.start <= day) and (membership.end is None or day < membership.end)


def days_within(memberships: Sequence[Membership], start: date, end: date) -> list[tuple[date, date]]:
    """Return the parts of `[start, end)` that the memberships cover."""
    cut = ((max(each.start or start, start), min(each.end or end, end)) for each in memberships)
    return [(first, last) for first, last in cut if first < last]
