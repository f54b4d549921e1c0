"""Deals as they are shown: with their process and with who stands behind their owner."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.deal import Deal
from services.pipeline.domain.process import Process
from services.pipeline.store.owners import Owner, describe_owners
from services.pipeline.use_cases.context import Context


class DealView(NamedTuple):
    """A deal, the version of the process it is under, and its owner (None: nobody)."""

    deal: Deal
    process: Process
    owner: Owner | None


async def view_deals(context: Context, tx: AsyncConnection, deals: Sequence[Deal]) -> Sequence[DealView]:
    """Return each deal with what is shown beside it."""
    processes = await context.processes.load(tx, {(deal.process, deal.process_version) for deal in deals})
    owners = await describe_owners(tx, {deal.owner for deal in deals})
    return [
        DealView(deal, processes[deal.process, deal.process_version], owners.get(deal.owner or "")) for deal in deals
    ]
