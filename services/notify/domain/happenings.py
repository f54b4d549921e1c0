"""What an event means in the words of the rules, and whether a rule is about it."""

from collections.abc import Collection
from datetime import datetime, timedelta
from decimal import Decimal

from services.notify.domain.conditions import (
    DealEventName,
    DealFilter,
    GoalEventName,
    GoalFilter,
    OneOrMany,
)
from shared.events.goals import GoalProgressed, GoalState
from shared.events.pipeline import DealCreated, DealDeleted, DealEvent, DealMoved, DealSlaBreached, DealState
from shared.money import Money

# A fact may have happened shortly before its rule was written and still be news; anything older is history.
NEWS_TOLERANCE = timedelta(minutes=5)
_GOAL_EVENTS: dict[GoalState, GoalEventName] = {
    "on_track": "goal_on_track",
    "at_risk": "goal_at_risk",
    "reached": "goal_reached",
    "missed": "goal_missed",
}


def is_news(occurred_at: datetime | None, rule_since: datetime) -> bool:
    """Whether a fact is young enough for a rule: an import of old deals alerts nobody; undated facts are old."""
    return occurred_at is not None and occurred_at >= rule_since - NEWS_TOLERANCE


def is_news_of_a_goal(event: GoalProgressed, rule_since: datetime) -> bool:
    """Whether progress is news for a rule: a goal whose period was over before the rule is history, told only now."""
    return is_news(event.recorded_at, rule_since) and event.period_end >= rule_since.date()


def deal_happenings(event: DealEvent) -> frozenset[DealEventName]:
    """Return everything that `event` says has happened to the deal."""
    found: set[DealEventName] = set()
    if isinstance(event, DealSlaBreached):
        found.add("sla_breached")
    elif isinstance(event, DealDeleted):
        found.add("deal_deleted")
    elif isinstance(event, DealCreated):
        found.add("deal_created")
        found.update(_closing(event.deal, None))
    elif isinstance(event, DealMoved):
        found.add("deal_moved")
        found.update(_closing(event.deal, event.before))
        found.update(_gates(event))
    return frozenset(found)


def _closing(deal: DealState, before: DealState | None) -> tuple[DealEventName, ...]:
    was = before.status if before else "open"
    if deal.status == was:
        return ()
    names: dict[str, DealEventName] = {"won": "deal_won", "lost": "deal_lost", "open": "deal_reopened"}
    return (names[deal.status],) if deal.status in names else ()


def _gates(move: DealMoved) -> tuple[DealEventName, ...]:
    if not move.broke:
        return ()
    return ("gate_broken", "gate_overridden") if move.overridden else ("gate_broken",)


def goal_happening(event: GoalProgressed, state_known: GoalState | None) -> GoalEventName | None:
    """Return what changed against the state known before (or told by the event); null when nothing did.

    A goal that begins on track is no news.
    """
    before = state_known or event.state_before or "on_track"
    return None if event.deleted or event.state == before else _GOAL_EVENTS[event.state]


def deal_matches(event: DealEvent, where: DealFilter) -> bool:
    """Whether a filter takes the deal, its `owner` and `scope` left aside: those need the directory."""
    deal = event.deal
    pairs = (
        (where.process, deal.process),
        (where.stage, deal.stage.code),
        (where.from_stage, event.before.stage.code if event.before else None),
        (where.currency, deal.currency),
        (where.product, deal.product),
        (where.source, deal.source),
        (where.lost_reason, deal.lost_reason),
    )
    return all(is_one_of(value, wanted) for wanted, value in pairs) and _large_enough(deal, where.amount_at_least)


def _large_enough(deal: DealState, least: Decimal | None) -> bool:
    if least is None:
        return True
    if deal.amount is None or deal.currency is None:
        return False
    return Decimal(Money(deal.amount, deal.currency).amount) >= least


def goal_matches(event: GoalProgressed, where: GoalFilter) -> bool:
    """Whether a filter takes the goal or quota, its `scope` left aside."""
    kind = "goal" if event.person_id is None else "quota"
    return (
        is_one_of(kind, where.subject)
        and (where.goal_id is None or event.goal_id in _many(where.goal_id))
        and is_one_of(event.kpi, where.kpi)
        and is_one_of(event.currency, where.currency)
    )


def is_one_of(value: str | None, wanted: OneOrMany | None) -> bool:
    """Whether `value` is wanted; no wish takes everything."""
    return wanted is None or value in _many(wanted)


def _many(wanted: object) -> Collection[object]:
    return wanted if isinstance(wanted, tuple) else (wanted,)
