"""What the KPI service reads from its environment."""

from shared.settings import Settings


class KpiSettings(Settings):
    """Only what every service reads. `time_zone` decides which day a fact belongs to: rebuild after a change."""
