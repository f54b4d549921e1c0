"""The circumstances of a change: by whom, when it was told, from which day it holds."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A PATCH without its fields; `check` raises when the caller did not see the present version."""

    by: str
    now: datetime
    today: date
    check: Callable[[int], None]
    asked_on: date | None = None

    @property
    def on(self) -> date:
        """The day from which the change holds."""
        return self.asked_on or self.today
