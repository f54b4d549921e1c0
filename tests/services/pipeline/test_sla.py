"""Breaches of a stage's SLA: marked once per visit, dated when they were due, whoever looks first."""

import asyncio
from datetime import timedelta

from services.pipeline.use_cases import sla
from services.pipeline.use_cases.sla import mark_overdue_deals
from shared.clock import rfc3339
from shared.events.pipeline import DealSlaBreached
from tests.services.pipeline.serving import Pipeline


async def test_a_breach_occurs_when_it_was_due_and_once(field_sales: Pipeline):
    deal = await field_sales.deal()
    await field_sales.sent()
    field_sales.clock.advance(days=2, seconds=-1)
    await field_sales.run_job("sla")
    assert await field_sales.sent() == []
    field_sales.clock.advance(days=5)
    await field_sales.run_job("sla")
    await field_sales.run_job("sla")
    (event,) = await field_sales.announced()
    assert isinstance(event, DealSlaBreached)
    assert (str(event.deal_id), event.visit, event.level, event.version) == (deal["id"], 1, 1, 2)
    assert rfc3339(event.occurred_at) == deal["sla_due_at"]
    assert event.recorded_at - event.occurred_at > timedelta(days=4)
    shown = await field_sales.ok("GET", f"/deals/{deal['id']}")
    assert (shown["sla_breached"], shown["version"]) == (True, 2)


async def test_each_visit_has_its_own_breach_and_closed_deals_have_none(field_sales: Pipeline):
    deal = await field_sales.deal()
    field_sales.clock.advance(days=3)
    await field_sales.run_job("sla")
    await field_sales.move(deal, "dropped", lost_reason="price")
    field_sales.clock.advance(days=30)
    await field_sales.run_job("sla")
    await field_sales.move(deal, "visit")
    assert not (await field_sales.ok("GET", f"/deals/{deal['id']}"))["sla_breached"]
    field_sales.clock.advance(days=7)
    await field_sales.run_job("sla")
    breaches = [event for event in await field_sales.announced() if isinstance(event, DealSlaBreached)]
    assert [event.visit for event in breaches] == [1, 3]


async def test_many_at_once_in_batches_beside_each_other_and_beside_moves(field_sales: Pipeline):
    deals = [await field_sales.deal() for _ in range(30)]
    field_sales.clock.advance(days=3)
    await field_sales.sent()
    context = field_sales.service.app.state.context
    batch, sla.BATCH = sla.BATCH, 7
    try:
        *_, moved = await asyncio.gather(
            *(mark_overdue_deals(context) for _ in range(4)),
            asyncio.gather(*(field_sales.move(deal, "dropped", lost_reason="price") for deal in deals[:10])),
        )
        await mark_overdue_deals(context)
    finally:
        sla.BATCH = batch
    assert {answer.status for answer in moved} == {201}
    events = await field_sales.announced()
    breached = [str(event.deal_id) for event in events if isinstance(event, DealSlaBreached)]
    assert len(breached) == len(set(breached))
    assert set(breached) >= {deal["id"] for deal in deals[10:]}
    gaps = await field_sales.rows("SELECT 1 FROM deal_history GROUP BY deal_id HAVING max(version) <> count(*)")
    assert gaps == []
