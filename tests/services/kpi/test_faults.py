"""Clocks that jump (F18): the figures stay those of the history."""

from datetime import timedelta

from services.kpi.settings import KpiSettings
from services.kpi.use_cases.verify import verify
from tests.services.kpi.deal_streams import Deal, at
from tests.services.kpi.harness import Kpi
from tests.services.kpi.test_rebuild import History, won_deal

SETTINGS = KpiSettings()


async def test_figures_follow_the_time_of_the_events_whatever_the_clock_says(kpi: Kpi) -> None:
    """F18: an hour forth and back between batches; days are those of the events, also at the edge of a month."""
    # A minute before midnight in Shanghai.
    edge = Deal().created("lead", at("2026-01-31 15:59"), owner="external:rep0", amount=700, currency="CNY")
    edge.moved("demo", at("2026-01-31 15:59") + timedelta(minutes=1)).moved("won", at("2026-02-28 15:59"))
    history = History(*(won_deal(number) for number in range(6)), edge)
    for number, deal in enumerate(history.deals):
        kpi.clock.now += timedelta(hours=1) if number % 2 else -timedelta(hours=1)
        await kpi.apply(*deal.messages)
    assert (await verify(kpi.database, history, SETTINGS)).differences == []
    won = await kpi.get("/values", kpi="won_count", grain="month", from_="2026-02-01", to="2026-04-01")
    assert [item["value"] for item in won["items"]] == ["7", "0"]
    created = await kpi.get("/values", kpi="deals_created", grain="month", from_="2026-01-01", to="2026-03-01")
    assert [item["value"] for item in created["items"]] == ["1", "6"]
