"""A running goals service on a real database, and people in it."""

from collections.abc import AsyncIterator, Callable

import pytest

from services.goals.service import build
from services.goals.settings import GoalsSettings
from shared.auth.development_issuer import DevelopmentIssuer
from shared.db.engine import Database
from shared.http_client import HttpClient
from shared.runtime.service import Peers, Resources
from tests.services.goals.harness import Clock, Goals, KpiNeighbour, Organisation


@pytest.fixture
async def goals(service_database: Callable[[str], str]) -> AsyncIterator[Goals]:
    database = Database(service_database("goals"), "goals-test", pool_size=4)
    issuer, kpi, clock = DevelopmentIssuer.create(), KpiNeighbour(), Clock()
    neighbour = HttpClient(base_url="http://kpi", app=kpi)
    peers = Peers(neighbour, neighbour, neighbour, neighbour)
    service = build(GoalsSettings(), Resources(database, peers, neighbour, issuer.verifier(), clock))
    client = HttpClient(base_url="http://goals", app=service.app)
    yield Goals(service, database, client, issuer, kpi, clock)
    await client.close()
    await neighbour.close()
    await database.close()


@pytest.fixture
async def organisation(goals: Goals) -> Organisation:
    teams = [
        {"external_id": "north", "name": "North"},
        {"external_id": "red", "name": "Red", "parent_id": "north", "manager_id": "rita"},
        {"external_id": "blue", "name": "Blue", "parent_id": "north", "manager_id": "bob"},
    ]
    made = await goals.ok("POST", "/teams", teams, 200)
    people = [
        {"external_id": "rita", "name": "Rita", "team_id": "red", "role": "manager"},
        {"external_id": "bob", "name": "Bob", "team_id": "blue", "role": "manager"},
        {"external_id": "ann", "name": "Ann", "team_id": "red", "role": "rep", "ability": 80, "experience_months": 24},
        {"external_id": "ben", "name": "Ben", "team_id": "red", "role": "rep", "ability": 50, "experience_months": 2},
        {"external_id": "cid", "name": "Cid", "team_id": "blue", "role": "rep", "availability": "0.50"},
    ]
    who = await goals.ok("POST", "/people", people, 200)
    return Organisation(
        {team["external_id"]: item["id"] for team, item in zip(teams, made["items"], strict=True)},
        {person["external_id"]: item["id"] for person, item in zip(people, who["items"], strict=True)},
    )
