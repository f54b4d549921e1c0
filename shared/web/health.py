"""/livez, /readyz and /metrics: what an orchestrator and Prometheus ask."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter

from alembic.script import ScriptDirectory
from fastapi import FastAPI
from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.db.engine import Database
from shared.db.migrations import SERVICES_FOLDER, configuration
from shared.metrics import DB_POOL_IN_USE, EXPOSITION_TYPE, exposition

CHECK_SECONDS = 2.0

# A check says why it is not ready (one line, no secrets), or returns None.
Check = Callable[[], Awaitable[str | None]]


def start_draining(app: FastAPI) -> None:
    """Let /readyz say 503 from now on, so that no new traffic comes while the service ends."""
    app.state.draining = True


def health_routes(name: str, database: Database, checks: Mapping[str, Check]) -> list[Route]:
    """Return the three routes; readiness is the database, its schema at head, and the given `checks`."""
    all_checks = {"database": _database_check(database), "migrations": _migrations_check(name, database), **checks}

    async def livez(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        results = await asyncio.gather(*(_measured(check) for check in all_checks.values()))
        draining = bool(getattr(request.app.state, "draining", False))
        ready = not draining and all(result["ok"] for result in results)
        status = "draining" if draining else "ready" if ready else "not_ready"
        checked = dict(zip(all_checks, results, strict=True))
        return JSONResponse({"status": status, "checks": checked}, 200 if ready else 503, {"cache-control": "no-store"})

    async def metrics(_request: Request) -> Response:
        DB_POOL_IN_USE.labels(name).set(database.engine.pool.checkedout())  # type: ignore[attr-defined] # QueuePool has it
        return Response(exposition(), media_type=EXPOSITION_TYPE)

    return [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)]


async def _measured(check: Check) -> dict[str, object]:
    started = perf_counter()
    try:
        reason = await asyncio.wait_for(check(), CHECK_SECONDS)
    except Exception as error:  # noqa: BLE001 - whatever a check raises is its answer
        reason = type(error).__name__
    result: dict[str, object] = {"ok": reason is None, "milliseconds": round((perf_counter() - started) * 1000, 1)}
    if reason is not None:
        result["reason"] = reason
    return result


def _database_check(database: Database) -> Check:
    async def check() -> None:
        async with database.transaction() as tx:
            await tx.execute(text("SELECT 1"))

    return check


def _migrations_check(name: str, database: Database) -> Check:
    async def check() -> str | None:
        if not (SERVICES_FOLDER / name / "migrations").is_dir():
            return None
        heads = await asyncio.to_thread(_heads, name)
        async with database.transaction() as tx:
            present = set((await tx.execute(text("SELECT version_num FROM alembic_version"))).scalars())
        return None if present == heads else f"at {', '.join(sorted(present)) or 'nothing'}"

    return check


def _heads(name: str) -> set[str]:
    return set(ScriptDirectory.from_config(configuration("", name)).get_heads())
