"""Which period a question or a watch is about, by the organisation's calendar."""

from datetime import date, timedelta

from services.kpi.domain.days import BEGINNING, END
from shared.calendar import Grain, Period, period_of
from shared.events.kpi import Watch


def present_period(grain: Grain, today: date) -> Period:
    """Return the period of `grain` that holds `today`; for `total` all the time there is."""
    return Period(BEGINNING, END, grain) if grain == "total" else period_of(today, grain)


def watched_period(watch: Watch, today: date) -> Period:
    """Return the days a watch is about: its fixed range, or the present period of its grain."""
    if watch.start is not None and watch.end is not None:
        return Period(watch.start, watch.end, watch.grain)
    return present_period(watch.grain, today)


def asked_range(grain: Grain, start: date | None, end: date | None, today: date) -> tuple[date, date]:
    """Return the days `[start, end)` that a question means, which may be empty.

    A missing end is that of the present period; a missing start that of the last period before the end.
    """
    present = present_period(grain, today)
    if start is None and end is None:
        return present.start, present.end
    if end is None:
        return start or present.start, present.end
    if start is None:
        return (BEGINNING if grain == "total" else period_of(end - timedelta(days=1), grain).start), end
    return start, end
