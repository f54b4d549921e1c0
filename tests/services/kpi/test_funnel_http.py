"""`GET /kpi/v1/funnel`: both bases, dwell, what stands, implied and undated entries."""

from typing import Any

from tests.services.kpi.deal_streams import Deal, at, process_changed
from tests.services.kpi.harness import Kpi
from tests.services.kpi.organisation import PEOPLE, TEAMS


async def told(kpi: Kpi) -> None:
    """Five deals: one through every stage, one that skips the demo, one lost, one standing, one without any date."""
    owner = {"owner": "external:ann", "amount": 100, "currency": "CNY"}
    whole = Deal().created("lead", at("2026-02-01 01:00"), **owner).moved("demo", at("2026-02-02 01:00"))
    whole.moved("quote", at("2026-02-05 01:00")).moved("won", at("2026-03-05 01:00"))
    skipping = Deal().created("lead", at("2026-02-01 01:00"), **owner).moved("quote", at("2026-02-04 01:00"))
    lost = Deal().created("lead", at("2026-02-01 01:00"), **owner).moved("lost", at("2026-02-11 01:00"))
    standing = Deal().created("lead", at("2026-02-20 01:00"), owner="external:cid")
    undated = Deal().created("lead", None, owner="external:ben", amount=50, currency="USD")
    for deal in (whole, skipping, lost, standing, undated):
        await kpi.apply(*deal.messages)
    await kpi.apply(process_changed(), *TEAMS, *PEOPLE)


async def funnel(kpi: Kpi, **query: Any) -> dict[str, dict[str, Any]]:
    answer = await kpi.get("/funnel", process="std", **query)
    assert [item["stage"] for item in answer["items"]] == ["lead", "demo", "quote", "won", "lost"]
    return {item["stage"]: item for item in answer["items"]}


def shown(items: dict[str, dict[str, Any]], *names: str) -> dict[str, list[Any]]:
    return {stage: [item[name] for name in names] for stage, item in items.items()}


async def test_cohort(kpi: Kpi) -> None:
    await told(kpi)
    items = await funnel(kpi, from_="2026-02-01", to="2026-03-01")
    assert shown(items, "entered", "reached_next", "conversion", "implied", "undated") == {
        "lead": [4, 2, "0.500000", 0, 1],
        "demo": [2, 2, "1.000000", 1, 0],
        # Ever reached: the closing in march counts for the cohort of february.
        "quote": [2, 1, "0.500000", 0, 0],
        "won": [0, None, None, 0, 0],
        "lost": [1, None, None, 0, 0],
    }
    assert items["won"]["reasons"]["conversion"] == "terminal_stage"
    assert items["won"]["name"] == {"zh": "won", "en": "won"}
    assert items["quote"]["kind"] == "open"


async def test_period(kpi: Kpi) -> None:
    await told(kpi)
    items = await funnel(kpi, from_="2026-02-03", to="2026-03-01", basis="period")
    assert shown(items, "entered", "reached_next", "conversion") == {
        # Whole left lead before; skipping advanced, lost did not, standing came.
        "lead": [3, 1, "0.333333"],
        "demo": [1, 1, "1.000000"],
        # Whole advances in march only.
        "quote": [2, 0, "0.000000"],
        "won": [0, None, None],
        "lost": [1, None, None],
    }
    march = await funnel(kpi, from_="2026-03-01", to="2026-04-01", basis="period")
    assert shown(march, "entered", "reached_next")["quote"] == [2, 1]
    assert shown(march, "entered", "reached_next")["demo"] == [0, 0]
    assert march["demo"]["reasons"]["conversion"] == "no_data"


async def test_dwell_is_that_of_the_stays_that_ended_and_what_stands_is_of_now(kpi: Kpi) -> None:
    await told(kpi)
    items = await funnel(kpi)
    day = 86_400
    assert shown(items, "dwell_median_seconds", "dwell_p90_seconds") == {
        "lead": [3 * day, 10 * day],
        "demo": [3 * day, 3 * day],
        "quote": [28 * day, 28 * day],
        "won": [None, None],
        "lost": [None, None],
    }
    assert items["lost"]["reasons"]["dwell_p90_seconds"] == "terminal_stage"
    assert shown(items, "open", "open_amount") == {
        "lead": [2, [{"amount": "0.50", "currency": "USD"}]],
        "demo": [0, []],
        "quote": [1, [{"amount": "1.00", "currency": "CNY"}]],
        "won": [0, []],
        "lost": [0, []],
    }
    later = await funnel(kpi, from_="2026-06-01", to="2026-07-01")
    assert later["lead"]["open"] == 2
    assert later["lead"]["dwell_median_seconds"] is None
    assert later["lead"]["reasons"] == {
        "conversion": "no_data", "dwell_median_seconds": "no_data", "dwell_p90_seconds": "no_data",
    }  # fmt: skip


async def test_scopes(kpi: Kpi) -> None:
    await told(kpi)
    assert (await funnel(kpi, scope="person:ann"))["lead"]["entered"] == 3
    assert (await funnel(kpi, scope="team:blue"))["lead"]["entered"] == 1
    red = await funnel(kpi, scope="team:red", basis="period")
    assert [red["lead"]["entered"], red["lead"]["open"], red["lead"]["undated"]] == [3, 1, 1]
    own = await kpi.get("/funnel", 200, "manager", "rita", process="std")
    assert own["items"][0]["entered"] == 3
    await kpi.get("/funnel", 404, "rep", "ann", process="std", scope="org")


async def test_what_cannot_be_answered(kpi: Kpi) -> None:
    problem = await kpi.get("/funnel", 404, process="nobodys")
    assert problem["kind"] == "process"
    await kpi.get("/funnel", 422, process="std", from_="2026-03-01", to="2026-02-01")
    await kpi.get("/funnel", 422, process="std", basis="guess")


async def test_the_newest_process_names_the_stages(kpi: Kpi) -> None:
    await kpi.apply(process_changed(version=2), process_changed(version=1))
    [row] = await kpi.rows("SELECT version FROM process")
    assert row.version == 2
