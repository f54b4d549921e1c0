"""How numbers of goals and quotas look over HTTP: decimal texts, and a reason for every null."""

from collections.abc import Mapping
from decimal import Decimal

from pydantic import Field

from services.goals.domain.numbers import text_of
from services.goals.domain.progress import Progress
from services.goals.domain.standing import Standing, Yardstick
from shared.clock import Clock
from shared.events.goals import GoalState
from shared.web.models import Answer, Rfc3339


class ProgressFields(Answer):
    """How far a target has come. `reasons` says of each null number why it is null; `reason` is the first of them."""

    result: str | None
    attainment: str | None = Field(description="result / target, six digits, halves to even")
    pace: str | None = Field(description="result / what the working days gone ask for, six digits")
    state: GoalState
    as_of: Rfc3339 | None = Field(description="when kpi told the result")
    reason: str | None
    reasons: Mapping[str, str]


def progress_fields(standing: Standing, yardstick: Yardstick, clock: Clock) -> dict[str, object]:
    """Return the fields of ProgressFields for a target as it stands now."""
    found: Progress = standing.progress(yardstick, clock())
    return {
        "result": optional_text(found.result),
        "attainment": optional_text(found.attainment),
        "pace": optional_text(found.pace),
        "state": found.state,
        "as_of": standing.as_of,
        "reason": next(iter(found.reasons.values()), None),
        "reasons": dict(found.reasons),
    }


def optional_text(number: Decimal | None) -> str | None:
    """Return the number as plain digits."""
    return None if number is None else text_of(number)
