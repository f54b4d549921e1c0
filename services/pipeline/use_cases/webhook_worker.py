"""The worker of webhooks: what it cannot make sense of waits in quarantine, with the reasons, to be replayed."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.import_problems import Problem, Rejected
from services.pipeline.domain.import_rows import DealRow, RowReader
from services.pipeline.store.customer_names import RowKey
from services.pipeline.store.imports import plan_anew
from services.pipeline.store.sources import sources_by_name
from services.pipeline.store.webhooks import Webhook, lock_received, newest_told, settle_webhooks
from services.pipeline.use_cases.context import Context
from services.pipeline.use_cases.processes import DEFAULT_PROCESS
from services.pipeline.use_cases.record_deals import key_of, record_deals
from services.pipeline.use_cases.recorded import Recorder
from services.pipeline.use_cases.webhook_reading import late_news, read_webhook
from shared.db.errors import is_infrastructure
from shared.logging import get_logger
from shared.tracing import Cause

_log = get_logger(__name__)

BATCH = 64
# Behind a small batch: what comes meanwhile is recorded together, and who sends it shares the loop.
GATHER_SECONDS = 0.02
LOOK_EVERY_SECONDS = 2.0

News = tuple[Webhook, DealRow]


class WebhookWorker:
    """Processes what was received, in the order of arrival; one replica at a time (an exclusive loop)."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def run(self) -> None:
        """Work until cancelled; faults of the surroundings end it, and the runtime starts it again."""
        while True:
            found = await self.step()
            if not found:
                await self._context.webhook_received.wait(LOOK_EVERY_SECONDS)
            elif found < BATCH:
                await asyncio.sleep(GATHER_SECONDS)

    async def step(self) -> int:
        """Process one batch; return how many messages waited for it. One that fails does not stop the others."""
        try:
            return await self._process(BATCH)
        except Exception as error:
            if is_infrastructure(error):
                raise
            _log.warning("webhook_batch_failed", error=repr(error))
        try:
            await self._process(1)
        except Exception as error:
            if is_infrastructure(error):
                raise
            _log.warning("webhook_refused", error=repr(error))
            await self._quarantine_first(Problem("not_recorded", None, type(error).__name__))
        # The others of the batch still wait.
        return BATCH

    async def _quarantine_first(self, problem: Problem) -> None:
        async with self._context.database.transaction() as tx:
            first = await lock_received(tx, 1)
            await settle_webhooks(tx, [_quarantined(each, [problem], self._context.clock()) for each in first])

    async def _process(self, limit: int) -> int:
        async with self._context.database.transaction() as tx:
            await plan_anew(tx)
            waiting = await lock_received(tx, limit)
            if waiting:
                news, refused = await self._read(tx, waiting)
                await settle_webhooks(tx, [*refused, *await self._record(tx, news)])
        return len(waiting)

    async def _read(self, tx: AsyncConnection, waiting: Sequence[Webhook]) -> tuple[Sequence[News], Sequence[Webhook]]:
        """Return the news of different deals, up to the second of one: it is decided on what comes of the first."""
        context, now = self._context, self._context.clock()
        sources = await sources_by_name(tx, {each.source for each in waiting})
        reader = RowReader(await context.processes.all_newest(tx), DEFAULT_PROCESS, context.calendar.zone)
        news: dict[RowKey, News] = {}
        refused: list[Webhook] = []
        for each in waiting:
            try:
                row = read_webhook(reader, sources[each.source], each, now, context.calendar.zone)
            except Rejected as error:
                refused.append(_quarantined(each, error.problems, now))
                continue
            if key_of(row) in news:
                break
            news[key_of(row)] = each, row
        return list(news.values()), refused

    async def _record(self, tx: AsyncConnection, news: Sequence[News]) -> Sequence[Webhook]:
        newest = await _newest(tx, news)
        rows = [
            late_news(row) if key_of(row) in newest and row.at and row.at < newest[key_of(row)] else row
            for _, row in news
        ]
        causes = {key_of(row): Cause(each.correlation_id, None, each.traceparent) for each, row in news}
        outcomes = await record_deals(tx, self._context, rows, Recorder(None, causes=causes))
        now = self._context.clock()
        return [
            _quarantined(each, [outcome.result], now)
            if isinstance(outcome.result, Problem)
            else msgspec.structs.replace(
                each,
                status="processed",
                problems=(),
                external_id=row.external_id,
                deal_id=outcome.deal_id,
                occurred_at=row.at,
                processed_at=now,
            )
            for (each, row), outcome in zip(news, outcomes, strict=True)
        ]


async def _newest(tx: AsyncConnection, news: Sequence[News]) -> Mapping[RowKey, datetime]:
    found: dict[RowKey, datetime] = {}
    for source in {row.source for _, row in news}:
        names = [row.external_id for _, row in news if row.source == source]
        found |= {(source, name): at for name, at in (await newest_told(tx, source, names)).items()}
    return found


def _quarantined(message: Webhook, problems: Sequence[Problem], now: datetime) -> Webhook:
    return msgspec.structs.replace(message, status="quarantined", problems=tuple(problems), processed_at=now)
