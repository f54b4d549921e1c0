"""The environment of goals."""

from decimal import Decimal

from pydantic import Field

from shared.settings import Settings


class GoalsSettings(Settings):
    """Besides what every service reads: when a goal is at risk, and how often the passing days are looked at."""

    at_risk_pace: Decimal = Field(default=Decimal("0.85"), gt=0, lt=1)
    at_risk_hysteresis: Decimal = Field(default=Decimal("0.02"), ge=0, lt=1)
    progress_review_seconds: int = Field(default=60, ge=1)
