"""The owner's export made by hand, and a consumer that has applied everything on the bus."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from shared.bus.consumer import Consumer
from shared.bus.postgres import PostgresBus
from shared.events.codec import Message
from tests.services.kpi.deal_streams import Deal, at
from tests.services.kpi.harness import Kpi


class History:
    """The owner's export of a few deals: two streams a page, each complete."""

    def __init__(self, *deals: Deal) -> None:
        self.deals = list(deals)
        self.pages_read = 0

    async def pages(self, topic: str) -> AsyncIterator[Sequence[Message]]:
        told = [deal for deal in self.deals if deal.events[0].topic == topic]
        for start in range(0, len(told), 2):
            yield [message for deal in told[start : start + 2] for message in deal.messages]
            self.pages_read += 1
            await asyncio.sleep(0)

    async def after(self, topic: str, stream: str, version: int) -> Sequence[Message]:
        found = [deal for deal in self.deals if (deal.stream, deal.events[0].topic) == (stream, topic)]
        return [message for deal in found for message in deal.messages[version:]]


def won_deal(number: int) -> Deal:
    owner = f"external:rep{number % 3}"
    begin = at("2026-02-01 09:00") + timedelta(days=number)
    deal = Deal().created("lead", begin, owner=owner, amount=1000 + number, currency="CNY", product="disk")
    return deal.moved("demo", begin + timedelta(days=1)).moved("won", begin + timedelta(days=2))


async def consume(kpi: Kpi, bus: PostgresBus, history: History) -> Consumer:
    """Return a consumer that has applied everything on the bus."""
    consumer = Consumer(kpi.database, bus, kpi.subscription, history)
    while await consumer.step(timeout=0.05):
        pass
    return consumer
