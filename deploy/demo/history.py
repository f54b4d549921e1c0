"""First act: a year of real deals, the goal of its last quarter, and how far everybody came."""

import asyncio
from decimal import Decimal

from deploy.demo.api import Api, Json
from deploy.demo.organisation import Organisation, rate_abilities, set_up_organisation
from deploy.demo.processes import DemoFailure
from deploy.demo.readings import DATA, FOURTH_QUARTER, PROCESS, THIRD_QUARTER, rows, until_counted, values
from deploy.demo.screen import Screen, money, percent

CURRENCY = "USD"
# The catalogue writes it with a space, the deals without.
PRODUCT_SPELLING = {"GTXPro": "GTX Pro"}


def stage(code: str, zh: str, en: str, kind: str, chance: str) -> Json:
    return {"code": code, "name": {"zh": zh, "en": en}, "kind": kind, "win_probability": chance, "sla": None,
            "clock": "calendar", "tasks": [], "exit_criteria": [], "entry_criteria": [], "kpis": []}  # fmt: skip


THE_PROCESS: Json = {
    "code": PROCESS,
    "name": {"zh": "硬件销售", "en": "Hardware sales"},
    "stages": [
        stage("prospecting", "寻找客户", "Prospecting", "open", "0.10"),
        stage("engaging", "接洽", "Engaging", "open", "0.60"),
        stage("won", "赢单", "Won", "won", "1.00"),
        stage("lost", "输单", "Lost", "lost", "0.00"),
    ],
    "moves": "forward",
}
DEALS: Json = {
    "process": PROCESS,
    "external_id": "opportunity_id",
    "owner": "sales_agent",
    "customer": "account",
    "product": {"column": "product", "values": PRODUCT_SPELLING},
    "amount": {"column": "close_value", "currency": CURRENCY},
    "stages": [
        {"stage": "engaging", "at": "engage_date"},
        {"stage": {"column": "deal_stage", "values": {"Won": "won", "Lost": "lost"}}, "at": "close_date"},
    ],
    "current_stage": {
        "column": "deal_stage",
        "values": {"Prospecting": "prospecting", "Engaging": "engaging", "Won": "won", "Lost": "lost"},
    },
}
CUSTOMERS: Json = {
    "external_id": "account",
    "name": "account",
    "segment": "sector",
    "lifecycle": {"constant": "customer"},
}


async def import_file(api: Api, screen: Screen, kind: str, name: str, mapping: Json, content: bytes) -> Json:
    """Import a file and return its final counts, with a progress line meanwhile."""
    job = await api.upload(kind, name, content, mapping)
    total = max(1, content.count(b"\n") - 1)
    while True:
        state: Json = await api.get(f"/pipeline/v1/imports/{job['id']}")
        if state["status"] != "running":
            break
        screen.progress(f"导入 {name}", f"import {name}", state["rows"], total)
        await asyncio.sleep(0.1)
    if state["status"] != "completed":
        raise DemoFailure(f"import {name}: {state}")
    return state


async def set_goal(api: Api) -> tuple[Json, Json]:
    """Set 2017 Q4 = Q3 + 10 % and allocate it; return the goal and the plan."""
    goal = await api.post(
        "/goals/v1/goals",
        {
            "title": "2017 Q4: won amount 10 % above Q3",
            "kpi": "won_amount",
            "scope": "org",
            "period": {"grain": "quarter", "start": "2017-10-01"},
            "target": {"relative_to": "previous_period", "factor": "1.10"},
            "currency": CURRENCY,
        },
    )
    plan = await api.post(
        f"/goals/v1/goals/{goal['id']}/allocations",
        {
            "to": "people",
            "method": "ability_and_experience",
            "bounds": {"min": "0.60", "max": "1.60"},
            "preview": False,
        },
    )
    for _ in range(400):
        goal = await api.get(f"/goals/v1/goals/{goal['id']}")
        attained = await api.get(f"/goals/v1/goals/{goal['id']}/attainment", {"by": "person"})
        if goal["result"] is not None and all(item["result"] is not None for item in attained["items"]):
            return goal, plan
        await asyncio.sleep(0.05)
    raise DemoFailure("the goal's result did not arrive within 20 s")


async def run_history(api: Api, screen: Screen) -> tuple[Json, Organisation]:
    """Play the first act; return its figures, the same in every run, and the people."""
    await api.post("/pipeline/v1/processes", THE_PROCESS)
    organisation = await set_up_organisation(api)
    for product in rows("products.csv"):
        price = {"amount": f"{product['sales_price']}.00", "currency": CURRENCY}
        body = {
            "code": product["product"],
            "name": product["product"],
            "series": product["series"],
            "list_price": price,
        }
        await api.post("/pipeline/v1/products", body)
    accounts = await import_file(
        api, screen, "customers", "accounts.csv", CUSTOMERS, (DATA / "accounts.csv").read_bytes()
    )
    deals = await import_file(
        api, screen, "deals", "sales_pipeline.csv", DEALS, (DATA / "sales_pipeline.csv").read_bytes()
    )
    await until_counted(api, PROCESS, deals["created"])
    screen.say(
        f"一、导入真实数据：{deals['created']:,} 个商机，{accounts['created']} 个客户，未注明日期的阶段 {deals['undated']} 个"
        f"（不归入任何日期），拒绝 {deals['rejected']} 行",
        f"1. Real data imported: {deals['created']:,} deals, {accounts['created']} customers, {deals['undated']} stage "
        f"entries without a date (dated nowhere), {deals['rejected']} rows refused",
    )
    await rate_abilities(api, organisation)
    goal, plan = await set_goal(api)
    return await _report(api, screen, organisation, (accounts, deals, goal, plan)), organisation


async def _report(api: Api, screen: Screen, organisation: Organisation, done: tuple[Json, Json, Json, Json]) -> Json:
    accounts, deals, goal, plan = done
    quarter = await values(api, FOURTH_QUARTER, "won_count lost_count won_amount win_rate average_deal_size")
    before = await values(api, THIRD_QUARTER, "won_amount")
    screen.say(
        f"二、目标：2017 年第四季度 = 第三季度 {money(before['won_amount']['value'])} + 10 % = "
        f"{money(goal['target_value'])} {CURRENCY}，按能力与经验分给 {len(plan['items'])} 人，分毫不差",
        f"2. Goal: 2017 Q4 = Q3 {money(before['won_amount']['value'])} + 10 % = {money(goal['target_value'])} {CURRENCY}, "
        f"allocated by ability and experience to {len(plan['items'])} agents, exact to the cent",
    )
    rate = quarter["win_rate"]
    screen.say(
        f"   达成 {money(goal['result'])}，{percent(goal['attainment'])}；赢单率 {rate['numerator']}/{rate['denominator']} = "
        f"{percent(rate['value'])}",
        f"   reached {money(goal['result'])}, {percent(goal['attainment'])}; win rate {rate['numerator']} of "
        f"{rate['denominator']} = {percent(rate['value'])}",
    )
    by_team = (await api.get(f"/goals/v1/goals/{goal['id']}/attainment", {"by": "team"}))["items"]
    by_person = (await api.get(f"/goals/v1/goals/{goal['id']}/attainment", {"by": "person"}))["items"]
    managers = _managers(organisation, by_team)
    agents = sorted(
        (
            {
                "agent": item["external_id"],
                "quota": item["quota"],
                "result": item["result"],
                "attainment": item["attainment"],
            }
            for item in by_person
        ),
        key=lambda item: (-Decimal(item["attainment"] or 0), item["agent"]),
    )
    _show_tables(screen, managers, agents)
    weakest = await _weakest_spot(api, screen, managers, quarter)
    return {
        "import": {name: deals[name] for name in ("rows", "created", "rejected", "undated")},
        "customers": accounts["created"],
        "goal": {name: goal[name] for name in ("target_value", "result", "attainment")},
        "quota_sum": plan["sum"],
        "quarter": {name: item["value"] for name, item in quarter.items()},
        "win_rate": {name: rate[name] for name in ("numerator", "denominator", "value")},
        "managers": managers,
        "agents": agents,
        "weakest": weakest,
    }


def _managers(organisation: Organisation, by_team: list[Json]) -> list[Json]:
    names = {team: manager for manager, team in organisation.team_of_manager.items()}
    found = [
        {
            "manager": names[item["team_id"]],
            "quota": item["quota"],
            "result": item["result"],
            "attainment": item["attainment"],
        }
        for item in by_team
        if item["team_id"] in names
    ]
    return sorted(found, key=lambda item: (-Decimal(item["attainment"] or 0), item["manager"]))


def _show_tables(screen: Screen, managers: list[Json], agents: list[Json]) -> None:
    columns = (22, 14, 14, 9)
    screen.say(
        "   经理                            配额            结果     达成率",
        "   manager                        quota          result  attained",
    )
    screen.table([_row(item, "manager") for item in managers], columns)
    screen.say(
        f"   销售员（{len(agents)} 人，最好与最差各三人）", f"   agents ({len(agents)}; the best and the last three)"
    )
    screen.table([_row(item, "agent") for item in (*agents[:3], *agents[-3:])], columns)


def _row(item: Json, name: str) -> list[str]:
    return [item[name], money(item["quota"]), money(item["result"]), percent(item["attainment"])]


async def _weakest_spot(api: Api, screen: Screen, managers: list[Json], everyone: dict[str, Json]) -> Json:
    """Name the manager with the lowest attainment, and which factor is furthest below the organisation's."""
    last = managers[-1]["manager"]
    own = await values(api, FOURTH_QUARTER, "won_count win_rate average_deal_size", f"team:team of {last}")
    factors = {
        kpi: Decimal(own[kpi]["value"]) / Decimal(everyone[kpi]["value"]) for kpi in ("win_rate", "average_deal_size")
    }
    worst = min(factors, key=lambda kpi: factors[kpi])
    zh, en = {"win_rate": ("赢单率", "win rate"), "average_deal_size": ("平均单额", "average deal size")}[worst]
    shown = percent if worst == "win_rate" else money
    here, there = shown(own[worst]["value"]), shown(everyone[worst]["value"])
    n = own["win_rate"]["denominator"]
    screen.say(
        f"   最弱处：{last} 团队，{zh} {here}，全公司 {there}（结单 {n} 个）",
        f"   Weakest spot: the team of {last}: {en} {here} against {there} of all (n = {n} closed deals)",
    )
    return {
        "manager": last,
        "factor": worst,
        "value": own[worst]["value"],
        "organisation": everyone[worst]["value"],
        "n": n,
    }
