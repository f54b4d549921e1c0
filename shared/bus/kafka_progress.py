"""How far the groups have come, as committed offsets in Kafka: for the lag tools of operators, and for nobody else.

The truth stands in the groups' own databases. So this is done aside, one commit after the other, and one that fails
is forgotten: the next one comes in seconds.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

from shared.bus.kafka import KafkaAdmin
from shared.bus.protocol import TopicPartition
from shared.logging import get_logger

log = get_logger(__name__)

Positions = Mapping[TopicPartition, int]


class KafkaProgress:
    """Keeps the latest positions of each group until they are committed."""

    def __init__(self, servers: Sequence[str], prefix: str) -> None:
        self._servers = tuple(servers)
        self._prefix = prefix
        self._waiting: dict[str, Positions] = {}
        self._working: asyncio.Task[None] | None = None
        self._admin: KafkaAdmin | None = None
        self._failed = False

    def tell(self, group: str, positions: Positions) -> None:
        """Commit `positions` soon; what waits for the same group already is out of date then."""
        if not positions:
            return
        self._waiting[group] = positions
        if self.is_idle:
            self._working = asyncio.create_task(self._work(), name="kafka-progress")

    @property
    def is_idle(self) -> bool:
        return self._working is None or self._working.done()

    async def _work(self) -> None:
        try:
            while self._waiting:
                group = next(iter(self._waiting))
                await self._commit(group, self._waiting.pop(group))
            self._failed = False
        except Exception as error:  # noqa: BLE001 - a display must not disturb what it shows, whatever went wrong
            self._waiting.clear()
            self._say(error)
            await self._let_go()

    async def _commit(self, group: str, positions: Positions) -> None:
        admin = await self._connected()
        offsets: defaultdict[str, dict[int, int]] = defaultdict(dict)
        for at, offset in positions.items():
            offsets[self._prefix + at.topic][at.partition] = offset
        await admin.commit(self._prefix + group, offsets)

    def _say(self, error: Exception) -> None:
        """Once, until it works again."""
        if not self._failed:
            log.debug("progress_not_committed", error=repr(error))
        self._failed = True

    async def _connected(self) -> KafkaAdmin:
        if self._admin is None:
            self._admin = KafkaAdmin(self._servers)
            await self._admin.start()
        return self._admin

    async def _let_go(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            await admin.close()

    async def close(self) -> None:
        """Give up what is on its way; bounded in time."""
        working, self._working = self._working, None
        if working is not None:
            working.cancel()
            await asyncio.wait({working})
        await self._let_go()
