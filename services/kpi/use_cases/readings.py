"""Which cells answer a question: flows are added up within the period, gauges from the beginning to its end."""

from collections.abc import Iterator, Sequence

from services.kpi.domain.definitions import Definition
from services.kpi.store.scopes import FIRST_DAY, Share
from services.kpi.store.sums import Filters, Reading


def period_readings(
    question: int, definition: Definition, shares: Sequence[Share], days: tuple[int, int], filters: Filters
) -> Iterator[Reading]:
    """Yield what to read for one period `days` = `[first, last)` of the owners of a scope.

    A gauge counts everything of those who belong to the scope on the period's last day.
    """
    first, last = days
    for share in shares:
        if definition.kind == "gauge":
            if share.first < last <= share.last:
                yield Reading(question, definition.measure, share.owner, FIRST_DAY, last, *filters)
        elif max(first, share.first) < min(last, share.last):
            begin, end = max(first, share.first), min(last, share.last)
            yield Reading(question, definition.measure, share.owner, begin, end, *filters)
