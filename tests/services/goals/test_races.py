"""Two at a time: nothing is made twice, and a value that comes while a goal is being set is not missed."""

import asyncio
from datetime import date
from decimal import Decimal

from services.goals.domain.kpis import KPIS
from services.goals.use_cases.goals import NewGoal, set_goal
from services.goals.use_cases.progress import apply_values
from services.goals.use_cases.targets import Settled
from shared.bus.subscription import Delivery
from shared.calendar import period_of
from shared.events.codec import Message, decode, read_envelope
from shared.events.kpi import Watch
from tests.services.goals.harness import Goals, value_message

WATCH = Watch(
    kpi="won_amount", scope="org", grain="quarter", start=date(2026, 4, 1), end=date(2026, 7, 1), currency="CNY"
)
QUARTER = period_of(WATCH.start, "quarter")
GOAL = {
    "title": "Q2",
    "kpi": "won_amount",
    "period": {"grain": "quarter", "start": "2026-04-01"},
    "target": "1000.00",
    "currency": "CNY",
}


def delivery(message: Message) -> Delivery:
    return Delivery(read_envelope(message), decode(message), message, message.topic, 0, 0)


async def test_a_value_being_applied_is_waited_for_by_a_goal_being_set(goals: Goals):
    context = goals.service.app.state.context
    async with goals.database.transaction() as tx:
        await apply_values(context, tx, [delivery(value_message(WATCH, "700.00", 5))])
        setting = asyncio.create_task(goals.ok("POST", "/goals", GOAL))
        await asyncio.sleep(0.3)
        assert not setting.done()
    made = await setting
    assert made["result"] == "700.00"


async def test_a_goal_being_set_is_waited_for_by_a_value_being_applied(goals: Goals):
    context = goals.service.app.state.context
    new = NewGoal("Q2", KPIS["won_amount"], "org", QUARTER, Settled(Decimal("1000.00"), "CNY"))
    async with goals.database.transaction() as tx:
        goal = await set_goal(tx, new, context.yardstick, context.clock())

        async def apply() -> None:
            async with goals.database.transaction() as other:
                await apply_values(context, other, [delivery(value_message(WATCH, "700.00", 5))])

        applying = asyncio.create_task(apply())
        await asyncio.sleep(0.3)
        assert not applying.done()
    await applying
    assert (await goals.ok("GET", f"/goals/{goal.id}"))["result"] == "700.00"


async def test_one_external_id_is_made_once(goals: Goals):
    body = {"external_id": "ann", "name": "Ann"}
    answers = await asyncio.gather(*(goals.call("POST", "/people", body) for _ in range(4)))
    assert sorted(answer.status for answer in answers) == [201, 409, 409, 409]
    assert len(await goals.announced()) == 1


async def test_plans_made_at_once_follow_each_other(goals: Goals):
    await goals.ok("POST", "/people", [{"external_id": f"p{n}", "name": "P"} for n in range(3)])
    made = await goals.ok("POST", "/goals", GOAL)
    path = f"/goals/{made['id']}/allocations"
    plans = await asyncio.gather(*(goals.ok("POST", path, {}) for _ in range(3)))
    assert sorted(plan["version"] for plan in plans) == [1, 2, 3]
    goal = await goals.ok("GET", f"/goals/{made['id']}")
    assert goal["allocation"] == {"version": 3, "sum": "1000.00", "matches_target": True}
    versions = [event.version for event in await goals.announced() if event.stream == f"goal:{made['id']}"]
    assert versions == sorted(set(versions))
    assert len(versions) == 4
