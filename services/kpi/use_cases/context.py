"""What every use case of kpi may need."""

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from services.kpi.use_cases.freshness import Commits
from shared.clock import Clock
from shared.db.engine import Database
from shared.web.feeds import Feed


@dataclass(frozen=True, slots=True)
class Context:
    """The database, the clock, the zone that days are local in, the feed of announced values, the fold's commits."""

    database: Database
    clock: Clock
    zone: ZoneInfo
    feed: Feed
    commits: Commits
