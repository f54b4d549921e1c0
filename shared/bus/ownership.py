"""Who works on what: names owned by session lock in the service's own database, shared fairly among live members."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from shared.bus.backoff import Backoff
from shared.db.engine import Database
from shared.db.errors import is_infrastructure
from shared.db.session_locks import SessionLocks
from shared.logging import get_logger

log = get_logger(__name__)

# Below the server's limit of 6 s, and short enough that a killed owner's work rests for about a second at most.
CHECK_SECONDS = 1.0


class Ownership:
    """One member's part of `names` (partitions, or one piece of work), held as long as its session lives.

    It is the working loop itself that must call `refresh` (it asks at most once a second): an owner that hangs must
    lose what it owns. Losing the session raises LocksLost; then nothing is owned until the next `refresh`.
    """

    def __init__(self, database: Database, family: str, names: Sequence[str] = ()) -> None:
        self._database = database
        self._family = family
        self._names = {name: f"{family}/{name}" for name in names or (family,)}
        self._locks: SessionLocks | None = None
        self._owned: set[str] = set()
        self._checked = 0.0

    @property
    def owned(self) -> frozenset[str]:
        return frozenset(self._owned)

    @property
    def joined(self) -> bool:
        """Whether this is a live member, whatever its part is."""
        return self._locks is not None

    async def refresh(self, *, now: bool = False) -> frozenset[str]:
        """Return what is owned, after giving back what is beyond the fair share and taking what is free.

        Raises LocksLost (and other infrastructure errors when connecting): the work must end at once.
        """
        if now or self._locks is None or time.monotonic() - self._checked >= CHECK_SECONDS:
            try:
                await self._share()
            except BaseException:
                # Also when cancelled in the middle: nobody knows then what the session holds.
                await self.close()
                raise
            self._checked = time.monotonic()
        return self.owned

    async def _share(self) -> None:
        if self._locks is None:
            self._locks = await SessionLocks.join(self._database, self._family)
        members, held = await self._locks.look(self._names.values())
        fair = -(-len(self._names) // members)
        for name in sorted(self._owned)[fair:]:
            self._owned.discard(name)
            await self._locks.give_back(self._names[name])
        for name, lock in self._names.items():
            if len(self._owned) >= fair:
                break
            if lock not in held and await self._locks.take(lock):
                self._owned.add(name)

    async def give_back(self, name: str) -> None:
        """Stop owning `name`; whoever is free takes it, maybe this member again."""
        if self._locks is not None and name in self._owned:
            self._owned.discard(name)
            await self._locks.give_back(self._names[name])

    async def close(self) -> None:
        """Own nothing any more."""
        self._owned.clear()
        locks, self._locks = self._locks, None
        if locks is not None:
            await locks.close()

    async def run_exclusively(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` as the only one among all members; stand by until that is possible.

        Returns or raises as `work` does. When the session is lost, `work` is cancelled, and begun again as soon as
        ownership is back.
        """
        backoff = Backoff()
        try:
            while True:
                if await self._try_refresh(backoff) and await self._run_while_owned(work):
                    return
                await asyncio.sleep(CHECK_SECONDS)
        finally:
            await self.close()

    async def _run_while_owned(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Return True when `work` came to its end, False when it was cancelled because ownership is lost."""
        task = asyncio.ensure_future(work())
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=CHECK_SECONDS)
                if not task.done() and not await self._try_refresh():
                    return False
            await task
            return True
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    async def _try_refresh(self, backoff: Backoff | None = None) -> bool:
        try:
            owned = await self.refresh(now=True)
        except Exception as error:
            if not is_infrastructure(error):
                raise
            log.warning("ownership_lost", family=self._family, error=repr(error))
            if backoff is not None:
                await backoff.wait()
            return False
        if backoff is not None:
            backoff.reset()
        return bool(owned)
