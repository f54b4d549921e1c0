"""What every use case of kpi may need."""

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from shared.clock import Clock
from shared.db.engine import Database
from shared.web.feeds import Feed


@dataclass(frozen=True, slots=True)
class Context:
    """The database, the clock, the zone that days are local in, and the feed of announced values."""

    database: Database
    clock: Clock
    zone: ZoneInfo
    feed: Feed
