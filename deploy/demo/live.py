"""Second act, in this quarter: a move is refused, then accepted; KPI, goal and alert follow; how fast they do."""

import asyncio
import json
import time
from dataclasses import dataclass
from decimal import Decimal
from zoneinfo import ZoneInfo

from deploy.demo import board
from deploy.demo.api import Api, Json, Refusal
from deploy.demo.history import import_file
from deploy.demo.organisation import Organisation
from deploy.demo.processes import DemoFailure
from deploy.demo.screen import Screen, money, percent
from shared.calendar import Period, local_day, period_of, start_of_day
from shared.clock import utc_now
from shared.http_client import HttpClient

MEASURED_MOVES = 200
LIVE_AMOUNT = "88000.00"
WAIT_SECONDS = 20.0
# The board has 100 open deals in its first three stages: two moves each are the 200 measured ones.
EARLY_STAGES = 3
EVERY_MOVE = "every move of the measured deals"


@dataclass(frozen=True)
class Scene:
    """What the live scene plays on."""

    api: Api
    screen: Screen
    organisation: Organisation
    inbox: "Inbox"
    zone: ZoneInfo
    stages: dict[str, Json]
    customer_id: str

    @property
    def quarter(self) -> Period:
        return period_of(local_day(utc_now(), self.zone), "quarter")

    async def value(self, kpi: str, token: str | None = None) -> Json:
        """Return the item of a KPI of the synthetic process in this quarter, counted up to `token`."""
        period = {"from": self.quarter.start.isoformat(), "to": self.quarter.end.isoformat()}
        params = {"kpi": kpi, "scope": "org", "grain": "total", "process": board.PROCESS, **period}
        answer: Json = await self.api.get("/kpi/v1/values", params | ({"consistency_token": token} if token else {}))
        if token and not answer["counted"]:
            raise DemoFailure(f"{token} was not counted within 5 s")
        found: Json = answer["items"][0]
        return found


class Inbox:
    """What the receiver got, read from its process."""

    def __init__(self, url: str) -> None:
        self._client = HttpClient(base_url=url)
        self._seen: list[Json] = []

    async def wait_for(self, rule: str, *, correlation_id: str | None = None, token: str | None = None) -> Json:
        """Return the first alert of `rule` with that correlation or about that `stream@version`, waiting at most 20 s."""
        deadline = time.monotonic() + WAIT_SECONDS
        looked = 0
        while time.monotonic() < deadline:
            for entry in self._seen[looked:]:
                data = entry["alert"]["data"]
                about = f"{data['subject']['stream']}@{data['subject']['version']}"
                if (
                    data["rule"]["name"] == rule
                    and correlation_id in (None, data["correlation_id"])
                    and token in (None, about)
                ):
                    return entry
            looked = len(self._seen)
            answer = await self._client.request("GET", "/alerts", params={"behind": str(looked)})
            self._seen += json.loads(answer.body)
            if len(self._seen) == looked:
                await asyncio.sleep(0.002)
        raise DemoFailure(f"no alert of the rule {rule!r} within {WAIT_SECONDS:.0f} s")

    async def close(self) -> None:
        await self._client.close()


async def run_live(scene: Scene, receiver_url: str, secret: str, *, moves: int = MEASURED_MOVES) -> tuple[Json, Json]:
    """Play the second act; return its figures (the same in every run) and what was measured (times of `moves`)."""
    stages = await _fill_board(scene)
    figures: Json = {"board": stages}
    channel = await scene.api.post(
        "/notify/v1/channels",
        {"kind": "webhook", "name": "demo receiver", "url": f"{receiver_url}/alerts", "secret": secret},
    )
    before = await scene.value("won_amount")
    goal = await _set_goal(scene, Decimal(before["value"]) + Decimal(LIVE_AMOUNT))
    await _set_rules(scene, channel["id"], goal)
    figures["live"] = await _play_one_deal(scene, goal)
    measured = await _measure(scene, channel["id"], moves)
    return figures, measured


async def _fill_board(scene: Scene) -> dict[str, int]:
    begin = start_of_day(scene.quarter.start, scene.zone)
    content = board.scripted_deals(scene.organisation.agents, begin, utc_now())
    state = await import_file(scene.api, scene.screen, "deals", "board.ndjson", board.MAPPING, content)
    if state["created"] != board.DEALS:
        raise DemoFailure(f"the board was not filled: {state}")
    for _ in range(400):
        if int((await scene.value("deals_created"))["value"]) >= board.DEALS:
            break
        await asyncio.sleep(0.05)
    funnel = await scene.api.get(
        "/kpi/v1/funnel",
        {"process": board.PROCESS, "from": scene.quarter.start.isoformat(), "to": scene.quarter.end.isoformat()},
    )
    return {item["stage"]: item["entered"] for item in funnel["items"]}


async def _set_goal(scene: Scene, target: Decimal) -> Json:
    found: Json = await scene.api.post(
        "/goals/v1/goals",
        {
            "title": "Won amount of this quarter",
            "kpi": "won_amount",
            "scope": "org",
            "period": {"grain": "quarter", "start": scene.quarter.start.isoformat()},
            "target": f"{target:.2f}",
            "currency": board.CURRENCY,
        },
    )
    return await _goal_with(scene, found["id"], None)


async def _goal_with(scene: Scene, goal_id: str, state: str | None) -> Json:
    """Return the goal once it has a result and, where one is wanted, that state."""
    for _ in range(800):
        goal: Json = await scene.api.get(f"/goals/v1/goals/{goal_id}")
        if goal["result"] is not None and state in (None, goal["state"]):
            return goal
        await asyncio.sleep(0.01)
    raise DemoFailure(f"the goal did not come to {state or 'a result'}")


async def _set_rules(scene: Scene, channel_id: str, goal: Json) -> None:
    """One rule on the KPI itself and one on the goal that follows from it."""
    on_value = {"kpi": "won_amount", "scope": "org", "grain": "quarter", "op": "ge", "threshold": goal["target_value"],
                "currency": board.CURRENCY}  # fmt: skip
    for name, when in (("won amount reached", on_value), ("goal reached", {"event": "goal_reached"})):
        body = {"name": name, "when": when, "severity": "info", "channels": [channel_id]}
        await scene.api.post("/notify/v1/rules", body)


async def _play_one_deal(scene: Scene, goal: Json) -> Json:
    api, screen = scene.api, scene.screen
    before = await scene.value("won_amount")
    owner = scene.organisation.agents[0]
    deal = await api.post(
        "/pipeline/v1/deals",
        {"name": "Live", "process": board.PROCESS, "owner": {"external_id": owner}, "source": board.SOURCE,
         "amount": {"amount": LIVE_AMOUNT, "currency": board.CURRENCY}},
    )  # fmt: skip
    moves = f"/pipeline/v1/deals/{deal['id']}/moves"
    unmet = await _refused(api, moves)
    screen.say(
        f"三、现场：{owner} 想把商机推进到“需求分析”，被拒绝（HTTP 409），原因 {len(unmet)} 条：",
        f"3. Live: {owner} wants to move a deal on; refused (HTTP 409) for {len(unmet)} reasons:",
    )
    for item in unmet:
        screen.say(*(f"     - {item['message']}",) * 2)
    for target in (*board.OPEN_STAGES[1:], "won"):
        await board.meet_standard(api, deal["id"], scene.stages, scene.customer_id)
        correlation = f"demo-{deal['id']}-{target}"
        moved = await api.post(moves, {"to_stage": target}, {"x-request-id": correlation})
    after = await scene.value("won_amount", moved["consistency_token"])
    reached = await _goal_with(scene, goal["id"], "reached")
    on_value = await scene.inbox.wait_for("won amount reached")
    on_goal = await scene.inbox.wait_for("goal reached", correlation_id=correlation)
    screen.say(
        f"   任务做完后一路推进到赢单：赢单金额 {money(before['value'])} -> {money(after['value'])} {board.CURRENCY}，"
        f"目标 {percent(goal['attainment'])} -> {percent(reached['attainment'])}（{reached['state']}）",
        f"   tasks done, it is accepted up to won: won amount {money(before['value'])} -> {money(after['value'])} "
        f"{board.CURRENCY}, goal {percent(goal['attainment'])} -> {percent(reached['attainment'])} ({reached['state']})",
    )
    title = on_goal["alert"]["data"]["title"]
    screen.say(
        f"   签名警报已到另一进程的接收方：{title['zh']}；一条链 移动 -> KPI -> 目标 -> 警报，同一关联号 {correlation[-18:]}",
        f"   signed alerts reached a receiver in another process: {title['en']}; one chain move -> KPI -> goal -> alert "
        f"under one correlation id ...{correlation[-18:]}",
    )
    return {
        "unmet": [item["criterion"] for item in unmet],
        "won_amount": [before["value"], after["value"]],
        "attainment": [goal["attainment"], reached["attainment"]],
        "state": reached["state"],
        "alerts": sorted(alert["alert"]["data"]["rule"]["name"] for alert in (on_value, on_goal)),
    }


async def _refused(api: Api, moves: str) -> list[Json]:
    try:
        await api.try_post(moves, {"to_stage": board.OPEN_STAGES[1]})
    except Refusal as refusal:
        unmet: list[Json] = refusal.problem["unmet"]
        return unmet
    raise DemoFailure("the gate let a deal pass that met nothing")


async def _measure(scene: Scene, channel_id: str, moves: int) -> Json:
    """Time `moves` accepted moves until the KPI says so and until the receiver has the alert."""
    rule = {
        "name": EVERY_MOVE,
        "when": {"event": "deal_moved", "where": {"process": board.PROCESS}},
        "severity": "info",
        "channels": [channel_id],
    }
    await scene.api.post("/notify/v1/rules", rule)
    deals = await _open_deals(scene)
    to_kpi: list[float] = []
    to_alert: list[float] = []
    # The earliest stages come first, so that every deal has the moves that are taken from it.
    for number in range(moves):
        deal = deals[number % len(deals)]
        await board.meet_standard(scene.api, deal["id"], scene.stages, scene.customer_id)
        deal["stage"] = board.OPEN_STAGES[board.OPEN_STAGES.index(deal["stage"]) + 1]
        moved = await scene.api.post(f"/pipeline/v1/deals/{deal['id']}/moves", {"to_stage": deal["stage"]})
        accepted = time.time_ns()
        await scene.value("won_count", moved["consistency_token"])
        to_kpi.append((time.time_ns() - accepted) / 1e6)
        alert = await scene.inbox.wait_for(EVERY_MOVE, token=moved["consistency_token"])
        to_alert.append(max(0.0, (alert["arrived_ns"] - accepted) / 1e6))
        scene.screen.progress("计时", "measuring", number + 1, moves)
    measured: Json = {"moves": len(to_kpi), "to_kpi_ms": _spread(to_kpi), "to_alert_ms": _spread(to_alert)}
    scene.screen.say(
        f"   {len(to_kpi)} 次移动，从接受到 KPI 可读 p50 {measured['to_kpi_ms']['p50']} ms、p99 {measured['to_kpi_ms']['p99']} ms；"
        f"到警报送达 p50 {measured['to_alert_ms']['p50']} ms、p99 {measured['to_alert_ms']['p99']} ms",
        f"   {len(to_kpi)} moves, accepted to readable KPI p50 {measured['to_kpi_ms']['p50']} ms, p99 "
        f"{measured['to_kpi_ms']['p99']} ms; to delivered alert p50 {measured['to_alert_ms']['p50']} ms, p99 "
        f"{measured['to_alert_ms']['p99']} ms",
    )
    return measured


async def _open_deals(scene: Scene) -> list[Json]:
    """Return the open deals of the first EARLY_STAGES stages, each with at least two moves before it."""
    found: list[Json] = []
    cursor: str | None = ""
    while cursor is not None:
        params = {"process": board.PROCESS, "status": "open", "limit": "200"} | ({"cursor": cursor} if cursor else {})
        page = await scene.api.get("/pipeline/v1/deals", params)
        found += [{"id": deal["id"], "stage": deal["stage"]["code"]} for deal in page["items"]]
        cursor = page["next_cursor"]
    early = [deal for deal in found if board.OPEN_STAGES.index(deal["stage"]) < EARLY_STAGES]
    return sorted(early, key=lambda deal: board.OPEN_STAGES.index(deal["stage"]))


def _spread(times: list[float]) -> dict[str, float]:
    """Return p50 and p99 (nearest rank) in milliseconds."""
    ordered = sorted(times)
    return {
        "p50": round(ordered[(len(ordered) - 1) // 2], 1),
        "p99": round(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)], 1),
    }
