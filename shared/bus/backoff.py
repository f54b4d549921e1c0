"""How long to wait after the surroundings failed: full jitter, so that many members do not come back together."""

import asyncio
import random

FIRST_SECONDS = 0.1
LONGEST_SECONDS = 10.0


class Backoff:
    """Waits that double from 0.1 s up to 10 s, each drawn evenly below that."""

    def __init__(self, longest: float = LONGEST_SECONDS) -> None:
        self._longest = longest
        self._limit = FIRST_SECONDS

    async def wait(self) -> None:
        """Wait before the next try; raises CancelledError at once when what failed hid a cancellation."""
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError
        await asyncio.sleep(self.next())

    def next(self) -> float:
        """Return the seconds to wait before the next try."""
        limit = self._limit
        self._limit = min(limit * 2, self._longest)
        return random.uniform(limit / 10, limit)  # noqa: S311 - not a secret

    def reset(self) -> None:
        self._limit = FIRST_SECONDS
