"""What kpi answers equals, as text, what plain SQL finds in pipeline's own history; live, and after a rebuild."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from uuid import uuid4

import pytest

from tests.embedded_invariants import at_rest
from tests.embedded_system import System
from tests.flows.company import hire
from tests.flows.mixed_deals import STRICT, Mixture
from tests.flows.plain_kpi import KPIS, OF_STAGES, Item, Number, prepare, recomputed
from tests.system_caller import Caller

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EVER = (date(2023, 1, 1), date(2031, 1, 1))
# From the middle of a week to the middle of a month.
SPRING = (date(2024, 2, 7), date(2024, 5, 18))
QUESTIONS: Sequence[tuple[str, tuple[date, date], tuple[str, ...]]] = (
    ("total", EVER, ()),
    ("year", EVER, ()),
    ("quarter", EVER, ()),
    ("month", EVER, ()),
    ("week", SPRING, ()),
    ("day", SPRING, ()),
    ("month", SPRING, ("product",)),
    ("quarter", EVER, ("stage",)),
    ("year", EVER, ("process", "source")),
    ("year", EVER, ("owner",)),
    ("total", EVER, ("stage", "product", "owner", "process", "source")),
)


async def test_kpi_equals_plain_sql_over_the_history(system: System, admin: Caller) -> None:
    await admin.post("/pipeline/v1/processes", STRICT)
    known = tuple([await hire(system, admin, team) for team in ("north", "south", "south")])
    late, ghost = f"late-{uuid4().hex[:8]}", f"ghost-{uuid4().hex[:8]}"
    mixture = Mixture(admin, 20240229, (*known, late, ghost), uuid4().hex[:8])
    await mixture.play()
    assert mixture.refused > 0
    # Deals carry this owner by the external id already; from now on both keys mean one person.
    await hire(system, admin, name=late)
    await Mixture(admin, 7, (late, known[0]), uuid4().hex[:8]).play(deals=6, rows=6)
    await at_rest(system)

    assert await compare(system, admin, [known[0], late, ghost]) > 5000
    assert await equal_cells(system) > 500

    rebuilding = asyncio.create_task(system.command("kpi", "rebuild"))
    rounds = 0
    while not rebuilding.done():
        rounds += 1
        await Mixture(admin, rounds, known, uuid4().hex[:8]).play(deals=4, rows=4)
        await asyncio.sleep(0.5)
    code, said = await rebuilding
    assert code == 0, said
    assert rounds > 1
    await at_rest(system)
    assert await equal_cells(system) > 500
    assert await compare(system, admin, [late]) > 2000


async def equal_cells(system: System) -> int:
    """How many cells `salesgrain kpi verify` found equal."""
    code, said = await system.command("kpi", "verify")
    assert code == 0, said
    first, number, *rest = said.strip().split()
    assert (first, rest) == ("verify:", ["cells", "equal"]), said
    return int(number)


async def compare(system: System, caller: Caller, people: Sequence[str]) -> int:
    """Hold every answer for the organisation, a team and these people against the history; return how many there are."""
    ids = {person["external_id"]: person["id"] for person in await caller.everything("/goals/v1/people")}
    teams = {team["external_id"]: team["id"] for team in await caller.everything("/goals/v1/teams")}
    members = [
        person["id"] for person in await caller.everything("/goals/v1/people") if person["team_id"] == teams["north"]
    ]
    scopes: dict[str, list[str] | None] = {"org": None, "team:north": members}
    scopes |= {f"person:{name}": [ids.get(name, f"external:{name}")] for name in people}
    items = 0
    async with system.database("pipeline") as connection:
        await prepare(connection, {f"external:{name}": person for name, person in ids.items()})
        for grain, days, by in QUESTIONS:
            kpis = OF_STAGES if "stage" in by else KPIS
            for scope, owners in scopes.items():
                expected = await recomputed(connection, kpis, owners, grain, days, by)
                told = await answered(caller, kpis, scope, grain, days, by)
                assert told == expected, (scope, grain, by, differences(told, expected))
                items += len(told)
    return items


async def answered(
    caller: Caller, kpis: Sequence[str], scope: str, grain: str, days: tuple[date, date], by: Sequence[str]
) -> dict[Item, Number]:
    """What kpi says, without the items that count nothing."""
    begin, end = (day.isoformat() for day in days)
    found: dict[Item, Number] = {}
    for part in (kpis[:4], kpis[4:8], kpis[8:]):
        if part:
            answer = await caller.get(
                "/kpi/v1/values", kpi=list(part), scope=scope, grain=grain, from_=begin, to=end, by=list(by)
            )
            assert answer["as_of"]["parked_streams"] == 0
            found |= {key: number for key, number in map(read, answer["items"]) if counts(number)}
    return found


def read(item: Mapping[str, Any]) -> tuple[Item, Number]:
    key = (item["kpi"], tuple(item["by"].values()), item["currency"], item["period"]["start"])
    return key, tuple(item[name] for name in ("value", "numerator", "denominator", "sample_size", "undated"))


def counts(number: Number) -> bool:
    _value, numerator, _denominator, sample_size, undated = number
    return bool(sample_size or undated or (numerator and float(numerator)))


def differences(told: Mapping[Item, Number], expected: Mapping[Item, Number]) -> list[str]:
    return [
        f"{key}: told {told.get(key)}, the history says {expected.get(key)}"
        for key in sorted(told.keys() | expected.keys(), key=str)
        if told.get(key) != expected.get(key)
    ][:20]
