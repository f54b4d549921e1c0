"""The people of the real data: offices, managers and agents, and what history says of their ability."""

from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal

from deploy.demo.api import Api, Json
from deploy.demo.processes import DemoFailure
from deploy.demo.readings import THIRD_QUARTER, rows, values


@dataclass
class Organisation:
    """The people as goals knows them."""

    agents: list[str] = field(default_factory=list)
    manager_of: dict[str, str] = field(default_factory=dict)
    team_of_manager: dict[str, str] = field(default_factory=dict)


async def set_up_organisation(api: Api) -> Organisation:
    """Create offices, teams, managers and agents; return who belongs to whom."""
    found = Organisation()
    people = rows("sales_teams.csv")
    managers = {row["manager"]: row["regional_office"] for row in people}
    offices = sorted(set(managers.values()))
    await api.post("/goals/v1/teams", [{"external_id": office, "name": office} for office in offices])
    office_ids = {team["external_id"]: team["id"] for team in (await api.get("/goals/v1/teams"))["items"]}
    for manager, office in managers.items():
        team = await api.post(
            "/goals/v1/teams",
            {"external_id": f"team of {manager}", "name": manager, "parent_id": office_ids[office]},
        )
        found.team_of_manager[manager] = team["id"]
        person = await api.post("/goals/v1/people", _person(manager, team["id"], "manager"))
        await api.patch(f"/goals/v1/teams/{team['id']}", {"manager_id": person["id"]})
    found.manager_of = {row["sales_agent"]: row["manager"] for row in people}
    found.agents = [row["sales_agent"] for row in people]
    agents = [_person(agent, found.team_of_manager[found.manager_of[agent]], "rep") for agent in found.agents]
    answer = await api.post("/goals/v1/people", agents)
    if any(item["status"] != 201 for item in answer["items"]):  # noqa: PLR2004 - HTTP's own number
        raise DemoFailure(str(answer))
    return found


def _person(name: str, team_id: str, role: str) -> Json:
    return {"external_id": name, "name": name, "team_id": team_id, "role": role, "ability": 50,
            "experience_months": 24, "availability": "1.00"}  # fmt: skip


async def rate_abilities(api: Api, organisation: Organisation) -> None:
    """Derive each agent's ability from the third quarter (won amount against the best), experience from the first deal."""
    won: dict[str, Decimal] = {}
    for agent in organisation.agents:
        item = (await values(api, THIRD_QUARTER, "won_amount", f"person:{agent}"))["won_amount"]
        won[agent] = Decimal(item["value"] or 0)
    best = max(won.values())
    first: dict[str, str] = {}
    for row in rows("sales_pipeline.csv"):
        if row["engage_date"]:
            first[row["sales_agent"]] = min(row["engage_date"], first.get(row["sales_agent"], "9999"))
    people = await _everybody(api)
    for agent in organisation.agents:
        ability = int((won[agent] * 100 / best).to_integral_value(ROUND_HALF_EVEN)) if agent in first else 50
        began = date.fromisoformat(first.get(agent, "2017-09-01"))
        months = (2017 - began.year) * 12 + 10 - began.month
        await api.patch(f"/goals/v1/people/{people[agent]}", {"ability": ability, "experience_months": months})


async def _everybody(api: Api) -> dict[str, str]:
    found: dict[str, str] = {}
    cursor: str | None = ""
    while cursor is not None:
        page = await api.get("/goals/v1/people", {"limit": "200"} | ({"cursor": cursor} if cursor else {}))
        found |= {person["external_id"]: person["id"] for person in page["items"]}
        cursor = page["next_cursor"]
    return found
