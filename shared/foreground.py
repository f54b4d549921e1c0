"""Who waits for an answer goes first: other work pauses between its slices while a hot request is in flight.

asyncio knows no priorities, and in the embedded mode all four services share one loop. A request comes back to it for
each of its round trips; without this, every one of them would wait for a slice of each import, fold and decoding.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

# Enough for a move or two. Not until all requests are answered: under steady load somebody always waits.
PAUSE_SECONDS = 0.02


class Foreground:
    """The hot requests of this process that are in flight."""

    def __init__(self) -> None:
        self._in_flight = 0

    @contextmanager
    def request(self) -> Iterator[None]:
        """Somebody waits for what is done within the block."""
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    async def give_way(self) -> None:
        """Let others run, and for PAUSE_SECONDS those requests; between two calls lie at most 10 ms of work."""
        # What came in meanwhile is read in the first turn of the loop and begins in the second.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if self._in_flight:
            await asyncio.sleep(PAUSE_SECONDS)


foreground = Foreground()
