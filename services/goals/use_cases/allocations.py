"""A goal is shared out to people: previewed, or put in force with everything that it then depends on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.goals.domain.allocation import Bound
from services.goals.domain.goal import Goal
from services.goals.domain.membership import days_within
from services.goals.domain.numbers import text_of
from services.goals.domain.people import Person, next_version
from services.goals.domain.plan import Bounds, BoundsDoNotHold, NoCapacity, Participant, Quota, plan
from services.goals.domain.refusal import Fault, Impossible, Invalid
from services.goals.domain.rollup import subtree
from services.goals.domain.standing import GOAL_HOLDER, Standing, Yardstick, standing_of
from services.goals.domain.weights import presence, weight_of
from services.goals.store import goals, people, progress, quotas, teams
from services.goals.use_cases.goals import keep
from shared.calendar import BusinessCalendar
from shared.db.outbox import announce
from shared.events.goals import Membership
from shared.language import Text

METHOD = "ability_and_experience"
_NOT_ADDITIVE: Text = {
    "zh": "该指标的各人数值不能相加为总数，无法分配",
    "en": "people's values of this KPI do not sum to a whole, so it cannot be shared out",
}
_NO_CAPACITY: Text = {
    "zh": "目标范围内没有可分配的在岗销售",
    "en": "nobody who sells and is available is in the goal's scope",
}
_INFEASIBLE: Mapping[Bound, Text] = {
    "min": {
        "zh": "下限之和超过目标，超出量见 gap，请降低 bounds.min",
        "en": "the minima exceed the target by `gap`: lower bounds.min",
    },
    "max": {
        "zh": "上限之和低于目标，缺口见 gap，请提高 bounds.max",
        "en": "the maxima fall short of the target by `gap`: raise bounds.max",
    },
}
_UNKNOWN_PERSON: Text = {"zh": "没有这个人，或不在目标范围内", "en": "there is no such seller in the goal's scope"}


@dataclass(frozen=True, slots=True)
class Order:
    """How a goal is to be shared out; `only` names (ids or external ids) who takes part, null for everybody."""

    shared_to: Literal["people", "teams"]
    bounds: Bounds
    only: Sequence[str] | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A goal's quotas as they would be, or are since `version` of its plan."""

    goal: Goal
    version: int
    quotas: Sequence[Quota]
    parents: Mapping[UUID, UUID | None]


async def share_out(tx: AsyncConnection, goal: Goal, order: Order, calendar: BusinessCalendar) -> Plan:
    """Return the plan that `order` makes of `goal`, writing nothing.

    Raises Invalid and Impossible (`not_additive`, `no_capacity`, `infeasible_bounds`).
    """
    if not goal.kpi.additive:
        raise Impossible("not_additive", _NOT_ADDITIVE, {"kpi": goal.kpi.key})
    parents = await teams.parents(tx)
    chosen = await _chosen(tx, goal, parents)
    if order.only is not None:
        chosen = await _among(tx, chosen, order.only)
    everybody = [_participant(goal, person, held, calendar) for person, held in chosen]
    present = [each for each in everybody if each.weight.presence_bp]
    try:
        shared = plan(goal.target, goal.places, present, order.bounds)
    except NoCapacity as nobody:
        raise Impossible("no_capacity", _NO_CAPACITY, {"people": len(present)}) from nobody
    except BoundsDoNotHold as infeasible:
        members = {"bound": infeasible.bound, "gap": text_of(infeasible.gap), "currency": goal.currency}
        raise Impossible("infeasible_bounds", _INFEASIBLE[infeasible.bound], members) from infeasible
    return Plan(goal, goal.allocation_version + 1, shared, parents)


async def put_in_force(
    tx: AsyncConnection, made: Plan, order: Order, yardstick: Yardstick, by: str, now: datetime
) -> Goal:
    """Make the plan the goal's own, replacing the one before; the goal is locked.

    The goal is announced with its new watches, and each quota counts what kpi has told of it so far.
    """
    goal = replace(made.goal, allocation_version=made.version, version=next_version(made.goal.version, now))
    await goals.save(tx, goal, now)
    plan_row = quotas.AllocationRow(
        goal_id=goal.id,
        version=made.version,
        shared_to=order.shared_to,
        method=METHOD,
        bounds={"min": str(order.bounds.min), "max": str(order.bounds.max)},
        target=goal.target,
        recorded_at=now,
        recorded_by=by,
    )
    await quotas.add_plan(tx, plan_row, [_row(goal, each) for each in made.quotas])
    await announce(tx, [goal.changed([each.participant.person_id for each in made.quotas], now)])
    await _measure(tx, goal, made.quotas, yardstick, now)
    return goal


async def _measure(
    tx: AsyncConnection, goal: Goal, shared: Sequence[Quota], yardstick: Yardstick, now: datetime
) -> None:
    """Begin to measure the quotas in force with what kpi has told so far, and end that of those who have none."""
    fresh = {
        str(each.participant.person_id): standing_of(goal, each.quota, now, each.participant.person_id)
        for each in shared
    }
    values = await progress.lock_values(tx, [each.watch_key for each in fresh.values()])
    known = {row.holder: row for row in await progress.lock_of_goal(tx, goal.id) if row.holder != GOAL_HOLDER}
    before: list[Standing] = []
    after: list[Standing] = []
    for holder, standing in fresh.items():
        row = known.get(holder, standing)
        before.append(row)
        after.append(row.updated(yardstick, now, target=standing.target, measured=values.get(row.watch_key)))
    for holder, row in known.items():
        if holder not in fresh and not row.deleted:
            before.append(row)
            after.append(row.withdrawn(now))
    await keep(tx, before, after)


async def _chosen(
    tx: AsyncConnection, goal: Goal, parents: Mapping[UUID, UUID | None]
) -> list[tuple[Person, Sequence[Membership]]]:
    """Return the active sellers of the goal's scope with their memberships there."""
    kind, _, name = goal.scope.partition(":")
    if kind == "org":
        return [(person, person.memberships) for person in await people.active_reps(tx)]
    if kind == "person":
        return [(person, person.memberships) for person in await people.active_reps(tx, _ids([name]))]
    below = subtree(UUID(name), parents)
    within = await people.members(tx, list(below), goal.period.start, goal.period.end)
    return [
        (person, [held for held in person.memberships if held.team_id in below])
        for person in await people.active_reps(tx, list(within))
    ]


async def _among(
    tx: AsyncConnection, chosen: Sequence[tuple[Person, Sequence[Membership]]], only: Sequence[str]
) -> list[tuple[Person, Sequence[Membership]]]:
    named = await people.named(tx, only)
    within = {person.id for person, _ in chosen}
    faults = [
        Fault(f"/people/{n}", "unknown_person", _UNKNOWN_PERSON)
        for n, name in enumerate(only)
        if named.get(name) not in within
    ]
    if faults:
        raise Invalid(faults)
    wanted = {named[name] for name in only}
    return [(person, held) for person, held in chosen if person.id in wanted]


def _participant(goal: Goal, person: Person, held: Sequence[Membership], calendar: BusinessCalendar) -> Participant:
    """Someone of no team at all is there the whole period."""
    start, end = goal.period.start, goal.period.end
    present = days_within(held, start, end) if person.memberships else [(start, end)]
    last = [each for each in held if days_within([each], start, end)][-1:]
    return Participant(
        person_id=person.id,
        external_id=person.external_id,
        name=person.name,
        team_id=last[0].team_id if last else None,
        ability_bp=person.ability_bp,
        experience_months=person.experience_months,
        availability_bp=person.availability_bp,
        weight=weight_of(
            person.ability_bp,
            person.experience_months,
            person.availability_bp,
            presence(calendar, present, start, end),
        ),
    )


def _row(goal: Goal, quota: Quota) -> quotas.QuotaRow:
    return quotas.QuotaRow(
        goal_id=goal.id,
        allocation_version=goal.allocation_version,
        person_id=quota.participant.person_id,
        team_id=quota.participant.team_id,
        quota=quota.quota,
        explanation=quota.explanation(),
    )


def _ids(names: Sequence[str]) -> list[UUID]:
    """A person nobody told about yet has no id: such a goal cannot be shared out."""
    found = []
    for name in names:
        try:
            found.append(UUID(name))
        except ValueError:
            continue
    return found
