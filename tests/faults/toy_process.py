"""A process of the toy: `python -m tests.faults.toy_process ROLE PIPELINE KPI BUS`, with FAULTPOINT from outside."""

import asyncio
import sys
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.bus.opening import open_bus
from shared.bus.subscription import Delivery
from shared.db.engine import Database
from shared.db.faultpoints import arm_from_environment
from tests.faults.toy import World, fold, settle

WRITES = 12


async def slow_once(tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
    """Say that the transaction is open, and leave time to be frozen in it; only in the first one."""
    await fold(tx, deliveries)
    if not said:
        said.append("in transaction")
        print(*said, flush=True)
        await asyncio.sleep(2)


said: list[str] = []


async def play(role: str, world: World) -> None:
    arm_from_environment()
    print("ready", flush=True)
    if role == "writer":
        for number in range(WRITES):
            await world.change(number % 3, number, f"request {number}")
    elif role == "relay":
        while await world.relay().step():
            pass
    elif role == "settle":
        await settle(world.relay(), world.consumer())
    elif role == "slow":
        await asyncio.gather(world.relay().run(), world.consumer(subscription=world.subscription(slow_once)).run())
    else:
        await asyncio.gather(world.relay().run(), world.consumer().run())
    await world.close()


async def main(role: str, pipeline: str, kpi: str, bus: str) -> None:
    await play(role, World(Database(pipeline, "pipeline"), Database(kpi, "kpi"), await open_bus(bus)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
