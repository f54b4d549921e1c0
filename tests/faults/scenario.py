"""One course of events in which any part may die at any place, and is then started anew."""

from collections.abc import Awaitable, Callable

from shared.bus.consumer import Consumer
from shared.bus.relay import Relay
from shared.db.faultpoints import Crashed
from tests.faults.toy import World

DEALS = 5
CHANGES = 30


class Cast:
    """Writer, relay and consumer; who crashed is replaced, as an orchestrator would do."""

    def __init__(self, world: World, relay: type[Relay] = Relay, consumer: type[Consumer] = Consumer) -> None:
        self.world = world
        self.crashes = 0
        self._relay_class, self._consumer_class = relay, consumer
        self._relay = world.relay(relay)
        self._consumer = world.consumer(consumer)

    async def write(self, number: int) -> None:
        """A client that comes again with the same idempotency key until it has its answer."""
        await self._until_answered(lambda: self.world.change(number % DEALS, number * 100, f"request {number}"))

    async def relay(self) -> int:
        try:
            return await self._relay.step()
        except (Crashed, OSError):
            self.crashes += 1
            await self._relay.close()
            self._relay = self.world.relay(self._relay_class)
            return 1

    async def consume(self) -> int:
        try:
            return await self._consumer.step(0)
        except Crashed:
            self.crashes += 1
            await self._consumer.close()
            self._consumer = self.world.consumer(self._consumer_class)
            return 1
        except OSError:
            # Not dead: the same consumer goes on, with what it still remembers.
            self.crashes += 1
            return 1

    async def _until_answered(self, ask: Callable[[], Awaitable[None]]) -> None:
        try:
            await ask()
        except (Crashed, OSError):
            self.crashes += 1
            await ask()

    async def close(self) -> None:
        await self._relay.close()
        await self._consumer.close()


async def play(world: World, relay: type[Relay] = Relay, consumer: type[Consumer] = Consumer) -> int:
    """Change deals while relaying and consuming, then let everything come to rest; returns the number of crashes."""
    cast = Cast(world, relay, consumer)
    try:
        for number in range(CHANGES):
            await cast.write(number)
            if number % 3 == 2:
                await cast.relay()
            if number % 5 == 4:
                await cast.consume()
        while await cast.relay() + await cast.consume():
            pass
    finally:
        await cast.close()
    return cast.crashes
