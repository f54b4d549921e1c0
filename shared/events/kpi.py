"""What kpi announces: the values that somebody watches."""

from datetime import date
from typing import ClassVar, Literal

import msgspec

from shared.events.base import Event, StateEvent

VALUES = "kpi.values.v1"

WatchGrain = Literal["day", "week", "month", "quarter", "year", "total"]
Unit = Literal["money", "count", "ratio", "seconds", "score"]


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """A value that somebody depends on.

    `scope` is `org`, `team:<uuid>` or `person:<uuid>`. With `start` and `end` it is one fixed range of days
    `[start, end)`; without them it is the present period of `grain`, and moves on with time.
    """

    kpi: str
    scope: str
    grain: WatchGrain
    start: date | None = None
    end: date | None = None
    currency: str | None = None
    process: str | None = None

    @property
    def key(self) -> str:
        """The same for everybody who watches the same value."""
        days = f"{self.start or ''}..{self.end or ''}"
        return "|".join((self.kpi, self.scope, self.grain, days, self.currency or "", self.process or ""))


class ValueAnnounced(StateEvent, frozen=True, kw_only=True):
    """The present value of a watch; decimals are texts, a null value has a `reason`.

    A watch of a money KPI without a currency gives one event per currency: `currency` is part of the stream.
    """

    type: ClassVar[str] = "kpi.value.announced.v1"
    topic: ClassVar[str] = VALUES
    source: ClassVar[str] = "/kpi"

    watch: Watch
    period_start: date
    period_end: date
    value: str | None
    unit: Unit
    currency: str | None = None
    numerator: str | None = None
    denominator: str | None = None
    sample_size: int = 0
    reason: str | None = None
    definition_version: int = 1

    @property
    def stream(self) -> str:
        return f"value:{self.watch.key}:{self.currency or ''}:{self.period_start}"


EVENTS: tuple[type[Event], ...] = (ValueAnnounced,)
