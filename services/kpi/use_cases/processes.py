"""Keeping the sales processes, for the names and the order of stages in answers; no fold reads them."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.store.processes import save_process
from shared.bus.subscription import Delivery
from shared.events.pipeline import ProcessChanged


async def apply_processes(tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
    """Keep the newest version of each process."""
    for delivery in deliveries:
        if isinstance(delivery.event, ProcessChanged):
            await save_process(tx, delivery.event)
