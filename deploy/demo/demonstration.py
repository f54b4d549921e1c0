"""The demonstration from start to end: real history, a live scene, a kill -9, and what is the same in every run."""

import asyncio
import contextlib
import json
import secrets
import shutil
import signal
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from deploy.demo import board
from deploy.demo.api import Api, Json
from deploy.demo.history import run_history
from deploy.demo.live import Inbox, Scene, run_live
from deploy.demo.processes import Child, DemoFailure, distributed, free_port, receiver, server
from deploy.demo.screen import Screen
from deploy.demo.survival import survive_replicas, survive_whole
from deploy.embedded.issuer import development_token
from deploy.kafka.jars import missing_tools
from shared.language import Language
from shared.settings import Settings


@dataclass(frozen=True)
class Demonstration:
    """What the command line says."""

    once: bool
    json_file: Path | None
    language: Language
    data_dir: Path | None
    port: int | None
    distributed: bool = False
    bus: str = "kafka"


async def run_demonstration(wanted: Demonstration) -> int:
    """Run it; return the exit code. SIGTERM and Ctrl-C end it with everything it started."""
    if wanted.distributed and wanted.bus == "kafka" and (missing := missing_tools()):
        sys.stderr.write(
            f"salesgrain demo: the distributed mode runs a local Kafka, which needs {' and '.join(missing)}: install a "
            "Java runtime (17 or later) and Maven, or take the log in PostgreSQL with --bus postgres\n"
        )
        return 1
    screen = Screen(wanted.language)
    this = asyncio.current_task()
    if this is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    try:
        with _data_directory(wanted.data_dir) as data_dir:
            await _play(wanted, screen, data_dir)
    except DemoFailure as failure:
        sys.stderr.write(f"salesgrain demo: {failure}\n")
        return 1
    except asyncio.CancelledError:
        return 130
    return 0


@contextlib.contextmanager
def _data_directory(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given
        return
    made = Path(tempfile.mkdtemp(prefix="salesgrain-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


async def _play(wanted: Demonstration, screen: Screen, data_dir: Path) -> None:
    settings = Settings.from_environment()
    token = development_token(data_dir, "admin")
    port = free_port(wanted.port)
    base_url = f"http://127.0.0.1:{port}"
    log = data_dir / "server.log"
    child = distributed(data_dir, port, log, wanted.bus) if wanted.distributed else server(data_dir, port, log)
    began = time.monotonic()
    async with child, _receiver(data_dir) as (receiver_url, secret):
        measured: Json = {"start_seconds": round(time.monotonic() - began, 2)}
        api = Api(base_url, token, wanted.language)
        inbox = Inbox(receiver_url)
        screen.say(
            f"SalesGrain 演示，服务在 {base_url}，数据在 {data_dir}",
            f"SalesGrain demo, serving {base_url}, data in {data_dir}",
        )
        figures, organisation = await run_history(api, screen)
        process = await api.get(f"/pipeline/v1/processes/{board.PROCESS}")
        stages = {stage["code"]: stage for stage in process["stages"]}
        customer = (await api.get("/pipeline/v1/customers", {"limit": "1"}))["items"][0]["id"]
        scene = Scene(api, screen, organisation, inbox, ZoneInfo(settings.time_zone), stages, customer)
        live, times = await run_live(scene, receiver_url, secret)
        measured |= times | await _survive(wanted, screen, child, api, data_dir)
        figures |= live | {"verified": True}
        _write(wanted.json_file, figures, measured)
        await inbox.close()
        await api.close()
        if not wanted.once:
            await _keep_serving(screen, base_url, data_dir)


@contextlib.asynccontextmanager
async def _receiver(data_dir: Path) -> AsyncIterator[tuple[str, str]]:
    secret = f"whsec_{b64encode(secrets.token_bytes(24)).decode()}"
    port = free_port(None)
    async with receiver(port, secret, data_dir / "receiver.log"):
        yield f"http://127.0.0.1:{port}", secret


async def _survive(wanted: Demonstration, screen: Screen, child: Child, api: Api, data_dir: Path) -> Json:
    if wanted.distributed:
        return await survive_replicas(screen, api, data_dir)
    return await survive_whole(screen, child, data_dir)


def _write(json_file: Path | None, figures: Json, measured: Json) -> None:
    if json_file is not None:
        content = json.dumps({"figures": figures, "measured": measured}, ensure_ascii=False, indent=2, sort_keys=True)
        json_file.write_text(content + "\n", encoding="utf-8")


async def _keep_serving(screen: Screen, base_url: str, data_dir: Path) -> None:
    screen.say("仍在服务（Ctrl-C 结束）。可直接粘贴：", "Still serving (Ctrl-C ends it). These work as pasted:")
    token = f"TOKEN=$(.venv/bin/salesgrain token --data-dir {data_dir} --role admin)"
    values = "kpi=win_rate&scope=org&grain=quarter&from=2017-01-01&to=2018-01-01&process=b2b-sales"
    header = '-H "Authorization: Bearer $TOKEN"'
    for line in (
        f'{token}; curl -s {header} "{base_url}/kpi/v1/values?{values}"',
        f'curl -s {header} "{base_url}/kpi/v1/funnel?process=standard&basis=cohort"',
        f'curl -s {header} "{base_url}/notify/v1/alerts?limit=3"',
    ):
        screen.say(*(f"  {line}",) * 2)
    await asyncio.Event().wait()
