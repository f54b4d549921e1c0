"""`GET /kpi/v1/values`: arithmetic, periods, currencies, breakdowns."""

from tests.services.kpi.deal_streams import Deal, at
from tests.services.kpi.harness import Kpi


async def test_a_won_deal_counts_for_everything(kpi: Kpi) -> None:
    deal = Deal().created("lead", at("2026-03-01 01:00"), owner="external:ann", amount=123_450, currency="CNY")
    deal.moved("demo", at("2026-03-02 01:00")).moved("won", at("2026-03-04 01:00"))
    await kpi.apply(*deal.messages)
    march = {"from_": "2026-03-01", "to": "2026-04-01", "scope": "org"}
    answer = await kpi.get(
        "/values", kpi=["deals_created", "won_count", "won_amount", "win_rate", "sales_cycle_days"], **march
    )
    values = {item["kpi"]: item["value"] for item in answer["items"]}
    assert values == {
        "deals_created": "1",
        "won_count": "1",
        "won_amount": "1234.50",
        "win_rate": "1.000000",
        "sales_cycle_days": "3.000000",
    }
