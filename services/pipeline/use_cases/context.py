"""What every use case of pipeline is given."""

from dataclasses import dataclass, field
from datetime import datetime

from services.pipeline.domain.stage_entry import Recording
from services.pipeline.store.processes import ProcessCache
from shared.calendar import BusinessCalendar
from shared.clock import Clock
from shared.db.engine import Database, Signal


@dataclass(frozen=True)
class Context:
    """The database, the clock, the organisation's calendar (with its time zone), and the processes read so far.

    The signals wake the workers when a file or a webhook has been received.
    """

    database: Database
    clock: Clock
    calendar: BusinessCalendar
    processes: ProcessCache = field(default_factory=ProcessCache)
    import_received: Signal = field(default_factory=Signal)
    webhook_received: Signal = field(default_factory=Signal)

    def recording(self, actor: str | None, last: datetime | None = None) -> Recording:
        """Return a recording of now, never before `last`: what a stream tells is recorded in order."""
        now = self.clock()
        return Recording(now if last is None else max(now, last), actor, self.calendar)
