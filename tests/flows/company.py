"""The people and the processes that the flows play with."""

from typing import Any
from uuid import uuid4

from tests.embedded_system import System
from tests.system_caller import Caller, Json, until

SERVICES = ("pipeline", "kpi", "goals", "notify")
# Manager, then sellers, by team.
COMPANY = {"north": ("mia", "ann", "ben"), "south": ("sam", "cy")}


def stage(code: str, kind: str = "open", **more: Any) -> Json:
    return {"code": code, "name": {"zh": f"阶段{code}", "en": code.title()}, "kind": kind, **more}


def process(code: str, *stages: Json, moves: Any = "any") -> Json:
    ends = (stage("won", "won"), stage("lost", "lost"))
    return {"code": code, "name": {"zh": f"流程{code}", "en": code}, "stages": [*stages, *ends], "moves": moves}


FREE = process("free", stage("lead"), stage("talk"), stage("offer"))


async def found_company(system: System, caller: Caller) -> None:
    """Create the teams and their people, and let every service hear of them."""
    for team, (manager, *sellers) in COMPANY.items():
        await caller.post("/goals/v1/teams", {"external_id": team, "name": team})
        boss = await caller.post("/goals/v1/people", person(manager, team, "manager"))
        await caller.patch(f"/goals/v1/teams/{boss['team_id']}", {"manager_id": boss["id"]})
        await caller.post("/goals/v1/people", [person(seller, team) for seller in sellers])
    everybody = [name for people in COMPANY.values() for name in people]
    await known(system, "directory_person", everybody)
    await until(lambda: _managed(system))


async def hire(system: System, caller: Caller, team: str = "north", name: str | None = None) -> str:
    """A new seller of a team, known to every service: the external id."""
    name = name or f"seller-{uuid4().hex[:8]}"
    await caller.post("/goals/v1/people", person(name, team))
    await known(system, "directory_person", [name])
    return name


def person(name: str, team: str, role: str = "rep") -> Json:
    return {"external_id": name, "name": name.title(), "team_id": team, "role": role, "ability": 60,
            "experience_months": 24, "availability": "1.00"}  # fmt: skip


async def known(system: System, table: str, names: list[str]) -> None:
    """Wait until every service's directory has all these external ids."""
    statement = f"SELECT count(*) FROM {table} WHERE external_id = ANY($1)"

    async def everywhere() -> bool:
        return all([await system.rows(service, statement, names) == [(len(names),)] for service in SERVICES])

    await until(everywhere)


async def _managed(system: System) -> bool:
    statement = "SELECT count(*) FROM directory_team WHERE manager_id IS NOT NULL"
    return all([await system.rows(service, statement) == [(len(COMPANY),)] for service in SERVICES])


async def new_deal(caller: Caller, owner: str, amount: str | None = None, currency: str = "CNY", **more: Any) -> Json:
    """A deal of the free process."""
    body = {"name": f"Deal {uuid4().hex[:6]}", "process": "free", "owner": {"external_id": owner}, **more}
    if amount is not None:
        body["amount"] = {"amount": amount, "currency": currency}
    deal: Json = await caller.post("/pipeline/v1/deals", body)
    return deal
