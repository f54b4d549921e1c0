"""Settings of pipeline."""

from pydantic import Field

from shared.settings import Settings


class PipelineSettings(Settings):
    """What pipeline reads from its environment beside what every service reads."""

    sla_check_seconds: float = Field(default=5.0, gt=0)
