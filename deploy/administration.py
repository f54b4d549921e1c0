"""What the command line does beside a live server, or without one: rebuild, verify, audit, dead letters."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

from deploy.embedded.assembly import Assembly
from deploy.embedded.mode import databases, opened
from deploy.running import running_on
from deploy.topics import prepare_topics
from services.kpi.settings import KpiSettings
from services.kpi.use_cases.rebuild import rebuild
from services.kpi.use_cases.verify import Verification, verify
from shared.bus.arrivals import dense_topics
from shared.bus.audit import Reader, audit_topic
from shared.bus.dead_letters import UnknownDeadLetter, list_dead_letters, replay, show
from shared.bus.exports import HttpExport
from shared.clock import rfc3339
from shared.runtime.service import Service
from shared.settings import Settings

LISTED = 200


@asynccontextmanager
async def _beside(data_dir: Path, run_as: str | None) -> AsyncIterator[Assembly]:
    async with opened(data_dir, run_as, beside=True) as assembly:
        yield assembly


async def prepare_topics_beside(
    data_dir: Path, run_as: str | None, replication: int, *, check_only: bool
) -> tuple[str, bool]:
    """Make or check the topics of the log that a data directory has, as `prepare_topics` does."""
    running = running_on(data_dir)
    if running is not None:
        return await prepare_topics(running.bus_url, replication, check_only=check_only)
    async with databases(data_dir, run_as, Settings.from_environment(), beside=True) as url_of:
        return await prepare_topics(url_of("bus"), replication, check_only=check_only)


def _export(assembly: Assembly) -> HttpExport:
    peers = assembly.peers
    return HttpExport({"pipeline": peers.pipeline, "kpi": peers.kpi, "goals": peers.goals, "notify": peers.notify})


async def rebuild_kpi(data_dir: Path, run_as: str | None) -> str:
    """Recompute every KPI from history and switch to the result; return a line that says so."""
    async with _beside(data_dir, run_as) as assembly:
        database = assembly.services["kpi"].database
        result = await rebuild(database, assembly.bus, _export(assembly), KpiSettings.from_environment())
    return f"rebuild: generation {result.generation} with {result.cells} cells is active"


async def verify_kpi(data_dir: Path, run_as: str | None) -> tuple[list[str], bool]:
    """Compare live cells with recomputed ones; return what to print, and whether all are equal."""
    async with _beside(data_dir, run_as) as assembly:
        result = await verify(assembly.services["kpi"].database, _export(assembly), KpiSettings.from_environment())
    return verification_told(result)


def verification_told(result: Verification) -> tuple[list[str], bool]:
    """Return what to print of a verification, and whether all cells are equal."""
    if result.differences:
        return [
            f"verify: {len(result.differences)} of {result.cells} cells differ",
            *result.differences[:LISTED],
        ], False
    behind = [f"verify: {result.behind} events of history are not counted yet"] if result.behind else []
    return [f"verify: {result.cells} cells equal", *behind], True


async def audit_all(data_dir: Path, run_as: str | None, patience: float) -> tuple[list[str], bool]:
    """Hold log, readers and KPI against the owners' histories; return what to print, and whether all is as they say.

    Who is behind has `patience` seconds to catch up.
    """
    lines: list[str] = []
    findings: list[str] = []
    async with _beside(data_dir, run_as) as assembly:
        export = _export(assembly)
        for topic in sorted(dense_topics()):
            audit = await audit_topic(assembly.bus, export, topic, _readers(assembly, topic), patience)
            lines.append(f"audit: {topic}: {audit.streams} streams of history, {audit.records} events in the log")
            findings += audit.findings
        verification = await verify(assembly.services["kpi"].database, export, KpiSettings.from_environment())
    lines.append(f"audit: {verification.cells} KPI cells")
    findings += [f"kpi: {difference}" for difference in verification.differences]
    told = f"audit: {len(findings)} findings" if findings else "audit: everything is as the histories say"
    return [*lines, *findings[:LISTED], told], not findings


def _readers(assembly: Assembly, topic: str) -> list[Reader]:
    return [
        Reader(service.database, subscription)
        for service in assembly.services.values()
        for subscription in service.subscriptions
        if topic in subscription.topics
    ]


async def list_all_dead_letters(data_dir: Path, run_as: str | None) -> str:
    """Return the newest dead letters of all services, a line each."""
    lines: list[str] = []
    async with _beside(data_dir, run_as) as assembly:
        for name, service in assembly.services.items():
            async with service.database.transaction() as tx:
                letters = await list_dead_letters(tx, None, LISTED)
            lines += [
                f"{letter.id}  {name:8}  {letter.stream}@{letter.version}  {letter.type}  {letter.code}  "
                f"{'replayed' if letter.replayed_at else 'waiting'}  {letter.error.splitlines()[0]}"
                for letter in letters
            ]
    return "\n".join(lines) or "no dead letters"


async def show_dead_letter(data_dir: Path, run_as: str | None, letter_id: UUID) -> tuple[str, bool]:
    """Return one dead letter as JSON, with its message, or a line that says there is none; and whether there is."""
    async with _beside(data_dir, run_as) as assembly:
        for name, service in assembly.services.items():
            async with service.database.transaction() as tx:
                letter = await show(tx, letter_id)
            if letter is not None:
                shown = {
                    "id": str(letter.id), "service": name, "group": letter.group, "stream": letter.stream,
                    "version": letter.version, "type": letter.type, "code": letter.code, "error": letter.error,
                    "failed_at": letter.failed_at and rfc3339(letter.failed_at),
                    "replayed_at": letter.replayed_at and rfc3339(letter.replayed_at),
                    "headers": dict(letter.message.headers),
                    "value": letter.message.value.decode(errors="replace"),
                }  # fmt: skip
                return json.dumps(shown, ensure_ascii=False, indent=2), True
    return f"there is no dead letter {letter_id}", False


async def replay_dead_letter(data_dir: Path, run_as: str | None, letter_id: UUID) -> tuple[str, bool]:
    """Apply one dead letter again; return what came of it, and whether it is done."""
    async with _beside(data_dir, run_as) as assembly:
        for service in assembly.services.values():
            if await _holds(service, letter_id):
                try:
                    done = await replay(service.database, service.subscriptions, letter_id)
                except UnknownDeadLetter as error:
                    return str(error), False
                return f"{done.result}{f': {done.error}' if done.error else ''}", done.result in (
                    "applied",
                    "duplicate",
                )
    return f"there is no dead letter {letter_id}", False


async def _holds(service: Service, letter_id: UUID) -> bool:
    async with service.database.transaction() as tx:
        return await show(tx, letter_id) is not None
