"""Marks deals that stay too long in a stage. Every replica runs it: a breach is one row, whoever is first."""

from services.pipeline.domain.sla import breach, is_breached
from services.pipeline.store.changes import write_changes
from services.pipeline.store.deals import lock_due_deals
from services.pipeline.store.sla import LEVEL, mark_breaches, overdue_deal_ids
from services.pipeline.use_cases.context import Context

BATCH = 200


async def mark_overdue_deals(context: Context) -> int:
    """Mark and announce every breach that is due by now, in short transactions; return how many."""
    marked = 0
    while True:
        found, done = await _mark_batch(context)
        marked += done
        # Those that others hold locked are theirs, or come again at the next tick.
        if found < BATCH or not done:
            return marked


async def _mark_batch(context: Context) -> tuple[int, int]:
    async with context.database.transaction() as tx:
        now = context.clock()
        due = await overdue_deal_ids(tx, now, BATCH)
        late = [deal for deal in await lock_due_deals(tx, due) if is_breached(deal, now)]
        new = await mark_breaches(tx, late, now)
        await write_changes(
            tx,
            [breach(deal, LEVEL, context.recording(None, deal.updated_at)) for deal in late if deal.id in new],
        )
    return len(due), len(late)
