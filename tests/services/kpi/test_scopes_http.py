"""Row scope: who may ask about whom, and what a person and a team add up to."""

import pytest

from tests.services.kpi.deal_streams import Deal, at
from tests.services.kpi.harness import Kpi
from tests.services.kpi.organisation import ANN, BLUE, CID, HEAD, PEOPLE, RED, RITA, TEAMS

FIRST_QUARTER = {"from_": "2026-01-01", "to": "2026-04-01"}


@pytest.fixture
async def sold(kpi: Kpi) -> Kpi:
    """Ann sold before and after she was known; cid in january (red) and in march (blue); ben has one open deal."""
    await kpi.apply(*TEAMS, *PEOPLE)
    for owner, day in [
        ("external:ann", "2026-01-10"),
        (str(ANN), "2026-03-10"),
        (str(CID), "2026-01-10"),
        ("external:cid", "2026-03-10"),
    ]:
        deal = Deal().created("lead", at(f"{day} 01:00"), owner=owner, amount=100, currency="CNY")
        await kpi.apply(*deal.moved("won", at(f"{day} 02:00")).messages)
    standing = Deal().created("lead", at("2026-01-20 01:00"), owner=str(CID), amount=700, currency="CNY")
    await kpi.apply(*standing.messages)
    return kpi


@pytest.mark.parametrize(
    ("scope", "won"),
    [("org", "4"), (f"person:{ANN}", "2"), ("person:ann", "2"), (f"team:{RED}", "3"), ("team:red", "3"),
     (f"team:{BLUE}", "1"), (f"team:{HEAD}", "4"), ("person:ben", "0")],
)  # fmt: skip
async def test_scopes_add_up_by_date_of_membership(sold: Kpi, scope: str, won: str) -> None:
    [item] = (await sold.get("/values", kpi="won_count", scope=scope, **FIRST_QUARTER))["items"]
    assert (item["value"], item["scope"]) == (won, scope)


async def test_a_gauge_goes_with_the_person_to_the_new_team(sold: Kpi) -> None:
    query = {"kpi": "open_pipeline_amount", "grain": "month", "currency": "CNY", **FIRST_QUARTER}
    for scope, values in {
        f"team:{RED}": ["7.00", "0.00", "0.00"],
        f"team:{BLUE}": ["0.00", "7.00", "7.00"],
        f"team:{HEAD}": ["7.00", "7.00", "7.00"],
        "org": ["7.00", "7.00", "7.00"],
    }.items():
        items = (await sold.get("/values", scope=scope, **query))["items"]
        assert [item["value"] for item in items] == values, scope


async def test_by_owner_names_people_and_joins_their_keys(sold: Kpi) -> None:
    items = (await sold.get("/values", kpi="won_count", scope="org", by="owner", **FIRST_QUARTER))["items"]
    assert {item["by"]["owner"]: item["value"] for item in items if item["value"] != "0"} == {
        str(ANN): "2",
        str(CID): "2",
    }
    gauges = await sold.get("/values", kpi="open_pipeline_amount", scope="team:head", by="owner", **FIRST_QUARTER)
    assert {item["by"]["owner"]: item["value"] for item in gauges["items"] if item["value"] != "0.00"} == {
        str(CID): "7.00"
    }


async def test_several_kpis_and_scopes_in_one_question(sold: Kpi) -> None:
    scopes = ["org", "person:ann", "team:blue"]
    items = (await sold.get("/values", kpi=["won_count", "win_rate"], scope=scopes, **FIRST_QUARTER))["items"]
    assert [(item["kpi"], item["scope"], item["value"]) for item in items] == [
        ("won_count", "org", "4"), ("won_count", "person:ann", "2"), ("won_count", "team:blue", "1"),
        ("win_rate", "org", "1.000000"), ("win_rate", "person:ann", "1.000000"), ("win_rate", "team:blue", "1.000000"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("role", "person", "scope", "status"),
    [
        ("rep", "ann", "person:ann", 200),
        ("rep", str(ANN), "person:ann", 200),
        ("rep", "ann", "person:ben", 404),
        ("rep", "ann", "team:red", 404),
        ("rep", "ann", "org", 404),
        ("manager", "rita", "team:red", 200),
        ("manager", "rita", "person:ben", 200),
        ("manager", "rita", "team:blue", 404),
        ("manager", "rita", "team:head", 404),
        ("manager", "rita", "org", 404),
        ("admin", None, "team:blue", 200),
        ("admin", None, "team:green", 404),
        ("admin", None, "person:nobody", 404),
        ("admin", None, "planet:earth", 404),
    ],
)
async def test_out_of_scope_is_not_found(sold: Kpi, role: str, person: str | None, scope: str, status: int) -> None:
    answer = await sold.get("/values", status, role, person, kpi="won_count", scope=scope, **FIRST_QUARTER)
    assert status == 200 or answer["code"] == "not_found"


async def test_without_scope_everybody_gets_their_own(sold: Kpi) -> None:
    for role, person, scope, won in [
        ("admin", None, "org", "4"),
        ("manager", str(RITA), f"team:{RED}", "3"),
        ("rep", "ann", "person:ann", "2"),
    ]:
        [item] = (await sold.get("/values", 200, role, person, kpi="won_count", **FIRST_QUARTER))["items"]
        assert (item["scope"], item["value"]) == (scope, won)
    await sold.get("/values", 404, "rep", None, kpi="won_count")


async def test_an_owner_nobody_told_of_has_numbers_for_an_admin(kpi: Kpi) -> None:
    deal = Deal().created("lead", at("2026-01-10 01:00"), owner="external:zoe")
    await kpi.apply(*deal.messages)
    [item] = (await kpi.get("/values", kpi="deals_created", scope="person:zoe", **FIRST_QUARTER))["items"]
    assert item["value"] == "1"


async def test_everybody_needs_a_token(kpi: Kpi) -> None:
    for path in ("/values?kpi=won_count", "/funnel", "/definitions", "/stream"):
        answer = await kpi.client.request("GET", f"/kpi/v1{path}")
        assert answer.status == 401
