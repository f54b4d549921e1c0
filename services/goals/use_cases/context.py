"""What every use case of goals may need."""

from dataclasses import dataclass

from services.goals.domain.standing import Yardstick
from shared.clock import Clock
from shared.db.engine import Database
from shared.http_client import HttpClient


@dataclass(frozen=True, slots=True)
class Context:
    """The database, the clock, kpi (for baselines) and the yardstick of progress."""

    database: Database
    clock: Clock
    kpi: HttpClient
    yardstick: Yardstick
