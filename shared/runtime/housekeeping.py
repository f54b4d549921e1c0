"""What every service forgets in time: idempotency keys, feed entries and dead letters have a bounded life."""

from datetime import timedelta

from shared.bus.dead_letters import expire_dead_letters
from shared.bus.protocol import Bus
from shared.clock import utc_now
from shared.runtime.service import Job, Service
from shared.web.feeds import forget_old_entries
from shared.web.idempotency import forget_old_keys

EVERY = timedelta(hours=1)


def bus_retention(bus: Bus) -> Job:
    """Return the job that keeps the log within its retention; it may run in every process."""

    async def expire() -> None:
        await bus.expire()

    return Job("bus_retention", EVERY, expire)


def housekeeping(service: Service) -> tuple[Job, ...]:
    """Return the jobs that the platform tables of a service need."""

    async def forget() -> None:
        async with service.database.transaction() as tx:
            await forget_old_keys(tx, utc_now())
            await forget_old_entries(tx, utc_now())
        await expire_dead_letters(service.database)

    return (Job("housekeeping", EVERY, forget),)
