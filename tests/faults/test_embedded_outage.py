"""One database of the running system is away (F12), or put back to how it was before (F21, F22)."""

import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.embedded_invariants import at_rest, broken
from tests.embedded_system import System
from tests.flows.company import process, stage
from tests.postgres_cluster import temporary_directory
from tests.services.notify.receiver import Receiver, receiving
from tests.system_caller import Json, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

PROCESS = process("outage", stage("open"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system() -> AsyncIterator[System]:
    with temporary_directory() as directory:
        made = System(directory)
        try:
            await made.start()
            async with made.caller() as admin:
                await admin.post("/pipeline/v1/processes", PROCESS)
            yield made
        finally:
            made.end()


@contextlib.asynccontextmanager
async def away(system: System, database: str) -> AsyncIterator[None]:
    """Within the block nobody can connect to the database, and who was connected is not any more."""
    async with system.database("postgres") as server:
        await server.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
        try:
            await server.execute(
                f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{database}'"
            )
            yield
        finally:
            await server.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")


async def back_up(system: System, database: str) -> None:
    async with away(system, database), system.database("postgres") as server:
        await server.execute(f"CREATE DATABASE backup TEMPLATE {database} STRATEGY = FILE_COPY")


async def restore(system: System, database: str) -> None:
    async with system.database("postgres") as server:
        await server.execute(f"DROP DATABASE {database} WITH (FORCE)")
        await server.execute(f"ALTER DATABASE backup RENAME TO {database}")


async def sell(system: System, name: str, deals: int = 3) -> list[str]:
    """Win so many deals of an owner; return them."""
    won = []
    async with system.caller() as admin:
        for number in range(deals):
            deal = {"name": f"{name} {number}", "process": "outage", "owner": {"external_id": name},
                    "amount": {"amount": "100.00", "currency": "CNY"}}  # fmt: skip
            won.append((await admin.post("/pipeline/v1/deals", deal))["id"])
            await admin.move(won[-1], "won")
    return won


async def won_count(system: System, name: str) -> str:
    async with system.caller() as admin:
        value = await admin.value("won_count", scope=f"person:{name}", grain="total")
    return str(value["value"])


async def alerted(system: System, receiver: Receiver, rule: str, deals: list[str]) -> bool:
    async with system.caller() as admin:
        alerts = await admin.everything("/notify/v1/alerts", rule_id=rule)
    told = {alert["subject"]["stream"] for alert in alerts}
    return told == {f"deal:{deal}" for deal in deals} and len(receiver.requests) >= len(deals)


async def test_while_the_database_of_kpi_is_away_the_others_go_on(system: System) -> None:
    """F12: moves are made, goals are set, alerts are delivered; afterwards nothing is missing and nothing was set aside."""
    async with receiving() as receiver, system.caller() as admin:
        channel = await admin.post("/notify/v1/channels", {"kind": "webhook", "url": receiver.url})
        rule = {
            "name": "won",
            "when": {"event": "deal_won", "where": {"process": "outage"}},
            "channels": [channel["id"]],
        }
        rule_id = (await admin.post("/notify/v1/rules", rule))["id"]
        await at_rest(system)
        async with away(system, "kpi"):
            deals = await sell(system, "unseen")
            answer = await admin.ask("GET", "/kpi/v1/values?kpi=won_count&scope=org")
            assert answer.status_code == 503, answer.text
            await until(lambda: alerted(system, receiver, rule_id, deals))
            period = {"grain": "year", "start": "2026-01-01"}
            goal: Json = {"title": "Meanwhile", "kpi": "won_count", "target": "10", "period": period}
            goal_id = (await admin.post("/goals/v1/goals", goal))["id"]
        await at_rest(system)
        assert await won_count(system, "unseen") == "3"

        async def measured() -> bool:
            found: Json = await admin.get(f"/goals/v1/goals/{goal_id}")
            return found["result"] == "3"

        await until(measured)


async def test_kpi_restored_from_a_backup_catches_up(system: System) -> None:
    """F21: offsets and figures are of one moment."""
    await sell(system, "early")
    await at_rest(system)
    await back_up(system, "kpi")
    await sell(system, "late")
    await until(lambda: counted(system, "late"), 60)
    await restore(system, "kpi")
    await at_rest(system)
    assert (await won_count(system, "early"), await won_count(system, "late")) == ("3", "3")
    code, said = await system.command("audit")
    assert code == 0, said
    assert said.splitlines()[-1] == "audit: everything is as the histories say"


async def counted(system: System, name: str) -> bool:
    async with system.caller() as admin:
        answer = await admin.ask("GET", f"/kpi/v1/values?kpi=won_count&grain=total&scope=person:{name}")
    return answer.status_code == 200 and answer.json()["items"][0]["value"] == "3"


async def test_pipeline_restored_from_an_older_backup_is_found_out(system: System) -> None:
    """F22: no reader can see it, since versions given again look like duplicates; the audit does."""
    (deal,) = await sell(system, "kept", 1)
    await at_rest(system)
    await back_up(system, "pipeline")
    async with system.caller() as admin:
        await until(lambda: moved(system, deal, "open"), 60)
        (forgotten,) = await sell(system, "forgotten", 1)
        await at_rest(system)
        await restore(system, "pipeline")
        await until(lambda: moved(system, deal, "lost"), 60)
        assert (await admin.ask("GET", f"/pipeline/v1/deals/{forgotten}")).status_code == 404

    async def relayed() -> bool:
        return await broken(system) != {} and await system.rows("pipeline", "SELECT FROM outbox") == []

    await until(relayed)
    code, said = await system.command("audit", "--wait", "0")
    assert code == 1, said
    assert f"the log: deal:{deal}@3: was told otherwise than the history has it" in said
    assert f"the log: deal:{forgotten}@1: was told, the history does not have it" in said
    assert f"kpi: deal:{forgotten}: counted up to version 2, the history has 0" in said


async def moved(system: System, deal: str, to_stage: str) -> bool:
    """Move it as soon as pipeline works again."""
    async with system.caller() as admin:
        answer = await admin.ask(
            "POST", f"/pipeline/v1/deals/{deal}/moves", {"to_stage": to_stage, "lost_reason": "price"}
        )
    assert answer.status_code in (201, 503), answer.text
    return answer.status_code == 201
