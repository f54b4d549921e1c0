"""Brings docker-compose.yml up for real, plays the live scene through the gateway, breaks things, checks the figures.

python -m deploy.docker.verify [--install] [--brokers 1|3] [--replicas N] [--stand-ins] [--folder DIR]

It says in its last line which level it reached: a real engine with the official images, a real engine with stand-ins,
or static only. Exit 0 means that everything at that level held; `--require-engine` makes "static only" a failure.
"""

import argparse
import asyncio
import contextlib
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from deploy.demo.processes import DemoFailure
from deploy.docker.compose_program import find_compose
from deploy.docker.deployment import Deployment
from deploy.docker.engine import CommandFailed, Engine, Unavailable, engine_of_the_environment, run, say
from deploy.docker.private_engine import install_engine, private_engine
from deploy.docker.scene import count_more, counted, play
from deploy.docker.stand_in_images import OFFICIAL, ROOT, build_ours, choose_images, remove_images, stood_in_for
from shared.http_client import HttpFailure
from shared.settings import Settings

STATIC = "static only: the files agree with the schema of compose; nothing was run"
# What `kpi verify` says while the newest events of history are still on their way.
BEHIND = "not counted yet"
BEHIND_SECONDS = 60.0


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Bring docker-compose.yml up for real, as far as this machine can.")
    parser.add_argument("--install", action="store_true", help="as root: install docker.io and the like with apt")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1, help="3: with compose.kafka3.yml")
    parser.add_argument("--replicas", type=int, default=2, help="of each service")
    parser.add_argument("--stand-ins", action="store_true", help="do not try to pull the official images")
    parser.add_argument("--require-engine", action="store_true", help="fail where no engine can be had")
    parser.add_argument("--folder", type=Path, help="keep images and engine data here for the next run")
    told = parser.parse_args()
    # SIGTERM ends it as Ctrl-C does: what it set up is taken down.
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    try:
        with _folder(told.folder) as folder:
            level = verify(told, folder)
    except (CommandFailed, DemoFailure, HttpFailure) as failure:
        sys.exit(f"verify-compose: FAILED: {failure}")
    except KeyboardInterrupt:
        sys.exit("verify-compose: interrupted; what it had set up is taken down")
    say(f"verify-compose: reached: {level}")
    if level.startswith(STATIC) and told.require_engine:
        sys.exit(1)


def verify(told: argparse.Namespace, folder: Path) -> str:
    """Verify as far as it can be done here; return the level that was reached."""
    _check_schema()
    try:
        if told.install:
            install_engine()
        compose = find_compose(folder)
        _check_meaning(compose)
        with _engine(folder, compose) as engine:
            return _verify_running(told, folder, engine)
    except Unavailable as reason:
        return f"{STATIC}. {reason}"


def _verify_running(told: argparse.Namespace, folder: Path, engine: Engine) -> str:
    settings = Settings.from_environment()
    images = choose_images(engine, folder, only_stand_ins=told.stand_ins)
    missing = stood_in_for(images)
    say("  images: building salesgrain")
    build_ours(engine, images)
    deployment = Deployment(engine, folder, images, brokers=told.brokers)
    with _taken_down(deployment):
        deployment.prepare()
        took = deployment.up(replicas=told.replicas)
        say(f"  up: every health check held after {took:.0f} s ({told.replicas} replicas, brokers: {told.brokers})")
        _check_isolation(deployment)
        played = asyncio.run(play(deployment, settings))
        say(f"  figures: {json.dumps(played['figures']['live'])}")
        _break(deployment, settings, told.replicas)
        _restore(deployment, settings, told.replicas)
    if told.folder is None:
        remove_images(engine)
    images_said = f"stand-ins for {', '.join(missing)}" if missing else f"official images ({_names()})"
    return f"a real engine with {images_said}, {told.replicas} replicas of each service, brokers: {told.brokers}"


@contextlib.contextmanager
def _taken_down(deployment: Deployment) -> Iterator[None]:
    """Take the deployment down after the block; a failure of the block is what is told, with what ran then."""
    try:
        yield
    except BaseException as failure:
        with contextlib.suppress(CommandFailed):
            if isinstance(failure, Exception):
                say(deployment.state())
        try:
            deployment.down()
        except CommandFailed as error:
            say(f"  and it could not be taken down: {error}")
        raise
    deployment.down()


def _break(deployment: Deployment, settings: Settings, replicas: int) -> None:
    """Kill one after the other; after each, more deals are counted exactly once."""
    for service in ("kpi", "pipeline"):
        deployment.crash(service, replicas)
        asyncio.run(count_more(deployment, settings))
    for service in ("kafka", "db"):
        deployment.crash_container(service)
        asyncio.run(count_more(deployment, settings))
    _verify_figures(deployment)


def _restore(deployment: Deployment, settings: Settings, replicas: int) -> None:
    """Copy, write more, go back to the copy: the figures are those of the copy, and counting goes on from there."""
    before = asyncio.run(counted(deployment, settings))
    copy = deployment.script("deploy/backup.sh", str(deployment.folder / "copies"))
    asyncio.run(count_more(deployment, settings))
    deployment.script("deploy/restore.sh", copy)
    deployment.up(replicas=replicas)
    after = asyncio.run(counted(deployment, settings))
    if after != before:
        raise CommandFailed(f"kpi counts {after} deals after the restore, {before} were in the copy")
    asyncio.run(count_more(deployment, settings))
    say(f"  restored: {before} deals as in the copy, and counting goes on")
    _verify_figures(deployment)


def _verify_figures(deployment: Deployment) -> None:
    deadline = time.monotonic() + BEHIND_SECONDS
    while BEHIND in (said := deployment.within("kpi", "salesgrain", "kpi", "verify", "--alone").strip()):
        if time.monotonic() > deadline:
            raise CommandFailed(said)
    say(f"  {said}")


def _check_schema() -> None:
    files = [str(ROOT / "docker-compose.yml"), *map(str, sorted((ROOT / "deploy/docker").glob("compose.*.yml")))]
    run([sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", *files], seconds=60)
    say("  files: agree with the schema of compose")


def _check_meaning(compose: tuple[str, ...]) -> None:
    base = ["--file", str(ROOT / "docker-compose.yml")]
    for files in (base, [*base, "--file", str(ROOT / "deploy/docker/compose.kafka3.yml")]):
        run([*compose, *files, "--project-directory", str(ROOT), "config", "--quiet"], seconds=60)
    say("  files: compose reads them, alone and with three brokers")


def _check_isolation(deployment: Deployment) -> None:
    """Kpi's role reaches kpi's database and no other."""
    reach = "PGPASSWORD=$(cat /run/secrets/kpi_database_password) psql -h 127.0.0.1 -U kpi -d {} -tAc 'SELECT 1'"
    if deployment.within("db", "bash", "-c", reach.format("kpi")).strip() != "1":
        raise CommandFailed("the role kpi does not reach its own database")
    for other in ("pipeline", "goals", "notify", "postgres"):
        try:
            deployment.within("db", "bash", "-c", reach.format(other))
        except CommandFailed as refused:
            if "permission denied for database" in str(refused):
                continue
            raise
        raise CommandFailed(f"the role kpi reaches the database {other}")
    say("  databases: a role reaches its own and no other")


@contextlib.contextmanager
def _engine(folder: Path, compose: tuple[str, ...]) -> Iterator[Engine]:
    try:
        engine = engine_of_the_environment(compose)
    except Unavailable:
        with private_engine(folder / "engine", compose) as own:
            say("  engine: a private one, started for this run")
            yield own
        return
    say("  engine: the one that answers here")
    yield engine


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given.absolute()
        return
    made = Path(tempfile.mkdtemp(prefix="salesgrain-verify-"))
    try:
        yield made
    finally:
        shutil.rmtree(made)


def _names() -> str:
    return ", ".join(official for _, official in OFFICIAL.values())


if __name__ == "__main__":
    main()
