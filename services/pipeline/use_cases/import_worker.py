"""The worker of imports: takes them batch by batch, each batch in one transaction together with how far it has come.

A kill between two batches loses nothing and repeats nothing: the next worker goes on behind the last commit.
"""

import asyncio
from collections.abc import Awaitable
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.store.imports import ImportJob, forget_rows, lock_import, next_running, plan_anew, save_import
from services.pipeline.use_cases.context import Context
from services.pipeline.use_cases.import_batch import take_batch
from services.pipeline.use_cases.import_stage_log import record_stage_log
from shared.db.errors import is_infrastructure
from shared.logging import get_logger
from shared.tracing import Cause, caused_by

_log = get_logger(__name__)

# Many rows to a transaction: in the embedded mode each of its round trips waits for whatever else the loop has to do.
BATCH_ROWS = 1000
# Between two batches live moves go first.
PAUSE_SECONDS = 0.005
LOOK_EVERY_SECONDS = 2.0


class ImportWorker:
    """Works on the oldest import that is not finished; one replica at a time (an exclusive loop)."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def run(self) -> None:
        """Work until cancelled; faults of the surroundings end it, and the runtime starts it again."""
        while True:
            if await self.step():
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                await self._context.import_received.wait(LOOK_EVERY_SECONDS)

    async def step(self) -> bool:
        """Take one batch of the oldest import; False when there is none."""
        async with self._context.database.transaction() as tx:
            import_id = await next_running(tx)
        if import_id is None:
            return False
        await self._take_somehow(import_id, BATCH_ROWS)
        return True

    async def _take_somehow(self, import_id: UUID, limit: int) -> None:
        """Take up to `limit` rows; where the database does not take them, halves of halves until the one is found.

        That one is told as an error.
        """
        error = await self._failure_of(self._take(import_id, limit))
        if error is None:
            return
        if limit > 1:
            for part in (limit // 2, limit - limit // 2):
                await self._take_somehow(import_id, part)
        elif worse := await self._failure_of(self._take(import_id, 1, refused=type(error).__name__)):
            await self._give_up(import_id, worse)

    async def _failure_of(self, taking: Awaitable[None]) -> Exception | None:
        try:
            await taking
        except Exception as error:  # one bad row must not stop its file
            if is_infrastructure(error):
                raise
            _log.warning("import_rows_refused", error=repr(error))
            return error
        return None

    async def _give_up(self, import_id: UUID, error: Exception) -> None:
        async with self._context.database.transaction() as tx:
            job = await lock_import(tx, import_id)
            if job is not None and job.status == "running":
                ended = msgspec.structs.replace(
                    job, status="failed", failure=type(error).__name__, completed_at=self._context.clock()
                )
                await save_import(tx, ended)

    async def _take(self, import_id: UUID, limit: int, *, refused: str | None = None) -> None:
        async with self._context.database.transaction() as tx:
            await plan_anew(tx)
            job = await lock_import(tx, import_id)
            if job is None or job.status != "running":
                return
            with caused_by(Cause(job.correlation_id, None, job.traceparent)):
                after = await self._next(tx, job, limit, refused)
            if after.status != "running":
                await forget_rows(tx, job.id)
            await save_import(tx, after)

    async def _next(self, tx: AsyncConnection, job: ImportJob, limit: int, refused: str | None) -> ImportJob:
        if job.position < job.size:
            after = await take_batch(tx, self._context, job, limit, refused=refused)
            if after.position < job.size or job.kind == "stage_log":
                return after
        elif job.kind == "stage_log" and (grouped := await record_stage_log(tx, self._context, job, limit)):
            return grouped
        else:
            after = job
        _log.info("import_completed", import_id=str(job.id), **msgspec.structs.asdict(after.tally))
        return msgspec.structs.replace(after, status="completed", completed_at=self._context.clock())
