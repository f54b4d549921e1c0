"""What the verification plays through the gateway: the demonstration's organisation and its live scene."""

import asyncio
import time
from zoneinfo import ZoneInfo

from deploy.demo import board
from deploy.demo.api import Api, Json
from deploy.demo.live import Inbox, Scene, run_live
from deploy.demo.organisation import set_up_organisation
from deploy.demo.processes import DemoFailure
from deploy.demo.screen import Screen
from deploy.docker.deployment import Deployment
from shared.settings import Settings

# That they work is the point here, not how fast: the demonstration measures.
MEASURED_MOVES = 20
LATER_DEALS = 20
COUNTED_SECONDS = 60.0


async def play(deployment: Deployment, settings: Settings) -> Json:
    """Play the live scene on a fresh deployment; return its figures and measured times; raises DemoFailure."""
    screen = Screen("en")
    api = Api(deployment.url, deployment.token(settings), "en")
    inbox = Inbox(deployment.receiver_url)
    try:
        organisation = await set_up_organisation(api)
        customer = await api.post("/pipeline/v1/customers", {"name": "Acme", "external_id": "acme"})
        process = await api.get(f"/pipeline/v1/processes/{board.PROCESS}")
        stages = {stage["code"]: stage for stage in process["stages"]}
        scene = Scene(api, screen, organisation, inbox, ZoneInfo(settings.time_zone), stages, customer["id"])
        figures, measured = await run_live(
            scene, deployment.receiver_within, deployment.webhook_secret, moves=MEASURED_MOVES
        )
    finally:
        await inbox.close()
        await api.close()
    return {"figures": figures, "measured": measured}


async def count_more(deployment: Deployment, settings: Settings) -> None:
    """Create LATER_DEALS more deals and wait until kpi has counted every one, and none twice; raises DemoFailure."""
    api = Api(deployment.url, deployment.token(settings), "en")
    try:
        wanted = await _created(api) + LATER_DEALS
        for number in range(LATER_DEALS):
            deal = {
                "name": f"Later {number}",
                "process": board.PROCESS,
                "owner": {"external_id": "somebody not known yet"},
                "amount": {"amount": "1000.00", "currency": board.CURRENCY},
            }
            await api.post("/pipeline/v1/deals", deal)
        deadline = time.monotonic() + COUNTED_SECONDS
        while (found := await _created(api)) != wanted:
            if time.monotonic() > deadline:
                raise DemoFailure(f"kpi counted {found} deals instead of {wanted}")
            await asyncio.sleep(0.2)
    finally:
        await api.close()


async def counted(deployment: Deployment, settings: Settings) -> int:
    """Return how many deals kpi has counted."""
    api = Api(deployment.url, deployment.token(settings), "en")
    try:
        return await _created(api)
    finally:
        await api.close()


async def _created(api: Api) -> int:
    params = {"kpi": "deals_created", "scope": "org", "grain": "total", "process": board.PROCESS}
    answer = await api.get("/kpi/v1/values", params | {"from": "2000-01-01", "to": "2100-01-01"})
    return int(answer["items"][0]["value"])
