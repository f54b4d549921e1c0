"""/livez, /readyz and /metrics: what an orchestrator, the gateway and Prometheus ask."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from time import monotonic, perf_counter

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

_VERSION_TABLE = text("SELECT to_regclass('alembic_version')")

# A check says why it is not ready (one line, no secrets), or returns None.
Check = Callable[[], Awaitable[str | None]]


class Readiness:
    """What /readyz answers: 200 when this process should get traffic, 503 when it should not, and why.

    `needed` checks always decide. Those of `need_once` hold a start back; once all of them held, they are only told,
    as `degraded`: a service whose log is away still takes requests, and what follows from them is late, not lost.
    """

    def __init__(self, needed: Mapping[str, Check]) -> None:
        self.draining = False
        self._needed = dict(needed)
        self._once: dict[str, Check] = {}
        self._told: dict[str, Check] = {}
        self._begun = False

    def need_once(self, name: str, check: Check) -> None:
        """Hold the start back until `check` held together with all others of its kind."""
        self._once[name] = check

    def tell(self, name: str, check: Check) -> None:
        """Tell what `check` says; it never decides."""
        self._told[name] = check

    async def answer(self) -> Response:
        """Ask every check at once and return the answer to GET /readyz."""
        checks = {**self._needed, **self._once, **self._told}
        results = dict(zip(checks, await asyncio.gather(*map(_measured, checks.values())), strict=True))
        failing = {name for name, result in results.items() if not result["ok"]}
        self._begun = self._begun or failing.isdisjoint(self._once)
        body = {"status": self._status(failing), "checks": results}
        return JSONResponse(
            body, 200 if body["status"] in ("ready", "degraded") else 503, {"cache-control": "no-store"}
        )

    def _status(self, failing: set[str]) -> str:
        if self.draining:
            return "draining"
        if not self._begun or not failing.isdisjoint(self._needed):
            return "not_ready"
        return "degraded" if failing else "ready"


def start_draining(app: FastAPI) -> None:
    """Let /readyz say 503 from now on, so that no new traffic comes while the service ends."""
    readiness: Readiness = app.state.readiness
    readiness.draining = True


def platform_checks(name: str, database: Database) -> dict[str, Check]:
    """Return what every service needs: its database, and the schema in it at head."""
    return {"database": _database_check(database), "migrations": remembered(_migrations_check(name, database))}


def remembered(check: Check, seconds: float = CHECK_SECONDS) -> Check:
    """Return `check`, not asked again within `seconds` after it held: for what costs more than a look."""
    held_at = float("-inf")

    async def look() -> str | None:
        nonlocal held_at
        if monotonic() - held_at < seconds:
            return None
        reason = await check()
        if reason is None:
            held_at = monotonic()
        return reason

    return look


def health_routes(name: str, database: Database, readiness: Readiness) -> list[Route]:
    """Return the three routes of a service."""

    async def livez(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        return await readiness.answer()

    async def metrics(_request: Request) -> Response:
        DB_POOL_IN_USE.labels(name).set(database.engine.pool.checkedout())  # type: ignore[attr-defined] # QueuePool has it
        return Response(exposition(), media_type=EXPOSITION_TYPE)

    return [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)]


async def _measured(check: Check) -> dict[str, object]:
    started = perf_counter()
    try:
        reason = await asyncio.wait_for(check(), CHECK_SECONDS)
    except Exception as error:  # noqa: BLE001 - whatever a check raises is its answer
        # Its name only: /readyz is open to all, and an error may quote what is not.
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
        heads, known = await asyncio.to_thread(_revisions, name)
        async with database.transaction() as tx:
            if (await tx.execute(_VERSION_TABLE)).scalar() is None:
                return "not migrated yet"
            present = set((await tx.execute(text("SELECT version_num FROM alembic_version"))).scalars())
        # A revision that this code does not know is a newer one: schema N serves code N-1 while replicas are replaced.
        if present == heads or present - known:
            return None
        return f"at {', '.join(sorted(present)) or 'nothing'}"

    return check


@cache
def _revisions(name: str) -> tuple[frozenset[str], frozenset[str]]:
    """The head revisions and all revisions of this process' code, which do not change while it runs."""
    scripts = ScriptDirectory.from_config(configuration("", name))
    return frozenset(scripts.get_heads()), frozenset(script.revision for script in scripts.walk_revisions())
