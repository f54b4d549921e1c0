"""Last act: kill -9, and every KPI cell compared with its recomputation from history afterwards."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from deploy.demo.api import Api, Json
from deploy.demo.processes import SERVE, Child, DemoFailure
from deploy.demo.screen import Screen
from deploy.running import Place, Running, running_on
from shared.http_client import HttpClient, HttpFailure

BACK_SECONDS = 120.0
# One question to each service: with one of two replicas dead, all of them are answered.
QUESTIONS = ("/pipeline/v1/deals", "/kpi/v1/definitions", "/goals/v1/goals", "/notify/v1/rules")


async def survive_whole(screen: Screen, child: Child, data_dir: Path) -> Json:
    """Kill the whole group and start it again; return what was measured."""
    child.kill()
    began = time.monotonic()
    await child.start()
    back = round(time.monotonic() - began, 2)
    said = await _verified(data_dir)
    screen.say(
        f"四、kill -9 整个服务，{back} 秒后恢复；从历史重算：{said}",
        f"4. kill -9 of the whole server; back after {back} s; recomputed from history: {said}",
    )
    return {"back_seconds": back, "verify": said}


async def survive_replicas(screen: Screen, api: Api, data_dir: Path) -> Json:
    """Kill one of the two replicas of each service; the others answer at once, and all come back."""
    victims = {name: place for name, place in _running(data_dir).processes.items() if name.endswith("-1")}
    for victim in victims.values():
        os.kill(victim.pid, signal.SIGKILL)
    began = time.monotonic()
    for question in QUESTIONS:
        await api.get(question)
    answered = round(time.monotonic() - began, 2)
    await _all_back(data_dir, victims)
    back = round(time.monotonic() - began, 2)
    said = await _verified(data_dir)
    screen.say(
        f"四、kill -9 每个服务两个副本中的一个：另一个继续应答（{answered} 秒），{back} 秒后全部恢复；从历史重算：{said}",
        f"4. kill -9 of one of two replicas of each service: the others answered on ({answered} s); all back after "
        f"{back} s; recomputed from history: {said}",
    )
    return {"back_seconds": back, "answered_seconds": answered, "verify": said}


async def _all_back(data_dir: Path, victims: dict[str, Place]) -> None:
    client = HttpClient()
    try:
        async with asyncio.timeout(BACK_SECONDS):
            missing = victims
            while missing:
                now = _running(data_dir).processes
                missing = {name: old for name, old in missing.items() if not await _is_back(client, now[name], old)}
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise DemoFailure(f"not everybody was back within {BACK_SECONDS:.0f} s; see {data_dir / 'logs'}") from None
    finally:
        await client.close()


async def _is_back(client: HttpClient, now: Place, victim: Place) -> bool:
    if now.pid == victim.pid:
        return False
    try:
        return (await client.request("GET", f"{now.url}/readyz")).ok
    except HttpFailure:
        return False


def _running(data_dir: Path) -> Running:
    found = running_on(data_dir)
    if found is None:
        raise DemoFailure(f"nothing runs on {data_dir} any more; see {data_dir / 'server.log'}")
    return found


async def _verified(data_dir: Path) -> str:
    command = [sys.executable, "-c", SERVE, "kpi", "verify", "--data-dir", str(data_dir)]
    verifying = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await verifying.communicate()
    said = output.decode().strip()
    if verifying.returncode != 0:
        raise DemoFailure(f"kpi verify found differences:\n{said}\n{errors.decode()[-2000:]}")
    return said
