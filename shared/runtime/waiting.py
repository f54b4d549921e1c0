"""What a process that runs alone waits for, in whatever order it comes, and what it says meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from sqlalchemy import text

from shared.bus.backoff import Backoff
from shared.bus.consumer import Consumer
from shared.bus.opening import open_bus
from shared.bus.protocol import Bus, TopicPartition
from shared.db.engine import Database
from shared.events.catalogue import TOPICS
from shared.logging import get_logger
from shared.web.health import Check, Readiness, remembered

log = get_logger(__name__)

T = TypeVar("T")

# What comes late should not be waited for much longer than it took.
LONGEST_PAUSE = 2.0
OPEN_SECONDS = 30.0
OLDEST_OUTBOX_SECONDS = 60.0

_OLDEST = text("SELECT extract(epoch FROM clock_timestamp() - created_at) FROM outbox ORDER BY id LIMIT 1")


class Waits:
    """Tries again for ever what is not there yet, and remembers why for /readyz."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    async def until_there(self, what: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what `attempt` returns, as soon as it raises nothing any more."""
        backoff = Backoff(LONGEST_PAUSE)
        while True:
            try:
                found = await attempt()
            except Exception as error:  # noqa: BLE001 - whatever is wrong with the surroundings may be put right
                self._say(what, reason_of(error))
            else:
                self._reasons.pop(what, None)
                log.info("found", what=what)
                return found
            await backoff.wait()

    async def until_held(self, what: str, check: Check) -> None:
        """Return as soon as `check` holds."""

        async def attempt() -> None:
            reason = await check()
            if reason is not None:
                raise NotYet(reason)

        await self.until_there(what, attempt)

    def _say(self, what: str, reason: str) -> None:
        if self._reasons.get(what) != reason:
            log.warning("waiting", what=what, reason=reason)
        self._reasons[what] = reason


class NotYet(Exception):  # noqa: N818 - the name of the fact
    """What a check says that does not hold."""


class Progress:
    """How far a process has come, as the checks of its /readyz."""

    def __init__(self, name: str, database: Database) -> None:
        self.name = name
        self.database = database
        self.trusts = False
        self.bus: Bus | None = None
        self.consumers: Sequence[Consumer] | None = None

    def watch(self, readiness: Readiness) -> None:
        """Add to `readiness` what holds this process' start back, and what else is good to know."""
        readiness.need_once("bus", remembered(self._bus_check))
        readiness.need_once("consumers", self._consumers_check)
        readiness.tell("outbox", remembered(self._outbox_check))

    async def auth_check(self) -> str | None:
        """Hold until the service has what it checks tokens with."""
        return None if self.trusts else "the key set that signs the tokens cannot be read yet"

    async def _bus_check(self) -> str | None:
        if self.bus is None:
            return "not reached yet"
        topic = next(iter(TOPICS))
        await self.bus.end_offsets([TopicPartition(topic, 0)])
        return None

    async def _consumers_check(self) -> str | None:
        if self.consumers is None:
            return "not started: database, schema and log come first"
        waiting = {consumer.group: consumer.waits_for() for consumer in self.consumers}
        return "; ".join(f"{group} {reason}" for group, reason in waiting.items() if reason) or None

    async def _outbox_check(self) -> str | None:
        async with self.database.autocommit() as connection:
            age = (await connection.execute(_OLDEST)).scalar()
        if age is None or age < OLDEST_OUTBOX_SECONDS:
            return None
        return f"the oldest event waits for {age:.0f} s"


async def bus_at(url: str) -> Bus:
    """Open the log at `url`; raises TimeoutError when that takes longer than any start of a broker."""
    return await asyncio.wait_for(open_bus(url), OPEN_SECONDS)


def reason_of(error: BaseException) -> str:
    """Return what an error says in one short line, for the log; of the database's the server's words only."""
    cause = error if isinstance(error, NotYet) else getattr(error, "orig", None) or error
    said = " ".join(str(cause).split())[:200]
    return said if isinstance(error, NotYet) else f"{type(cause).__name__}: {said}" if said else type(cause).__name__
