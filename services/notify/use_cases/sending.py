"""The sender: leases due deliveries, sends outside of any transaction, records what came of it."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notify.channels.channel import ChannelAdapter
from services.notify.domain.alert import Alert
from services.notify.domain.channel import Channel
from services.notify.domain.delivery import (
    Attempt,
    ChannelKind,
    Delivered,
    Delivery,
    Outcome,
    Parcel,
    Refused,
    Retry,
    RetryPolicy,
    after_attempt,
)
from services.notify.domain.payload import webhook_body
from services.notify.domain.rule import Rule
from services.notify.domain.texts import references, render
from services.notify.settings import NotifySettings
from services.notify.store import alerts as alert_store
from services.notify.store import channels as channel_store
from services.notify.store import deliveries as delivery_store
from services.notify.store import rules as rule_store
from services.notify.use_cases.names import NameBook
from shared.clock import Clock
from shared.db.engine import Database, Signal
from shared.db.faultpoints import faultpoint
from shared.logging import get_logger
from shared.metrics import NOTIFICATIONS
from shared.tracing import caused_by

log = get_logger(__name__)

# How often to look for what another replica wrote, or what has become due.
_POLL_SECONDS = 0.5
# Jitter spreads attempts; it protects nothing.
_random = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class _Leased:
    delivery: Delivery
    alert: Alert
    rule: Rule
    channel: Channel | None


class Sender:
    """One replica's sender; any number may run, a delivery is leased by one at a time.

    At-least-once: a sender that is killed after the target took a message leaves the lease to run out, and the next
    one sends again under the same message id.
    """

    def __init__(
        self,
        database: Database,
        adapters: Mapping[ChannelKind, ChannelAdapter],
        names: NameBook,
        settings: NotifySettings,
        clock: Clock,
        wake: Signal,
    ) -> None:
        self._database = database
        self._adapters = adapters
        self._names = names
        self._settings = settings
        self._clock = clock
        self._wake = wake
        self._policy = RetryPolicy(
            settings.delivery_base, settings.delivery_cap, settings.delivery_attempts, settings.delivery_within
        )
        self._sending: set[asyncio.Task[None]] = set()

    async def run(self) -> NoReturn:
        """Send until cancelled; a slow target takes its own slots only."""
        async with asyncio.TaskGroup() as group:
            while True:
                if not await self._start(group):
                    await self._wake.wait(_POLL_SECONDS)

    async def send_due(self) -> int:
        """Send everything that is due now and return how many attempts that were."""
        async with asyncio.TaskGroup() as group:
            return await self._start(group)

    async def _start(self, group: asyncio.TaskGroup) -> int:
        free = self._settings.delivery_at_once - len(self._sending)
        leased = await self._lease(free) if free > 0 else []
        for one in leased:
            task = group.create_task(self._deliver(one))
            self._sending.add(task)
            task.add_done_callback(self._finished)
        return len(leased)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._wake.set()

    async def _lease(self, limit: int) -> Sequence[_Leased]:
        settings = self._settings
        async with self._database.transaction() as tx:
            taken = await delivery_store.lease(
                tx, self._clock(), settings.delivery_lease, limit, settings.delivery_at_once_per_target
            )
            return await _with_their_matter(tx, taken) if taken else []

    async def _deliver(self, leased: _Leased) -> None:
        with caused_by(leased.alert.cause):
            outcome = await self._attempt(leased)
            faultpoint("notify.sent")
            now = self._clock()
            state, next_at = after_attempt(leased.delivery, outcome, now, self._policy, _random.random())
            error = None if isinstance(outcome, Delivered) else outcome.reason
            attempt = Attempt(at=now, status=outcome.status, error=error)
            async with self._database.transaction() as tx:
                await delivery_store.record(tx, leased.delivery, attempt, state, next_at)
                if isinstance(outcome, Refused) and outcome.disable and leased.channel:
                    await channel_store.disable(tx, leased.channel.id, outcome.reason)
            NOTIFICATIONS.labels(leased.delivery.kind, state).inc()
            log.info("delivery_attempted", delivery=str(leased.delivery.id), state=state, error=error)

    async def _attempt(self, leased: _Leased) -> Outcome:
        delivery, channel = leased.delivery, leased.channel
        if delivery.channel_id is not None and (channel is None or not channel.enabled):
            return Refused("the channel is disabled")
        try:
            parcel = await self._parcel(leased)
            return await self._adapters[delivery.kind].send(parcel)
        except Exception as error:
            # The boundary of one delivery: whatever is wrong with it must not stop the others.
            log.exception("delivery_failed", delivery=str(delivery.id))
            return Retry(f"internal error: {type(error).__name__}")

    async def _parcel(self, leased: _Leased) -> Parcel:
        delivery, channel = leased.delivery, leased.channel
        if channel is None:
            return Parcel(delivery, self._clock(), b"")
        names = await self._names.of(references(leased.alert.subject))
        message = render(leased.alert, leased.rule.name, delivery.transition, names)
        body = webhook_body(leased.alert, leased.rule.name, delivery.transition, message)
        return Parcel(delivery, self._clock(), body, channel.url, channel.secret)


async def _with_their_matter(tx: AsyncConnection, taken: Sequence[Delivery]) -> Sequence[_Leased]:
    alerts = await alert_store.named(tx, {one.alert_id for one in taken})
    rules = await rule_store.named(tx, {alert.rule_id for alert in alerts.values()})
    wanted: set[UUID] = {one.channel_id for one in taken if one.channel_id}
    channels = await channel_store.named(tx, wanted)
    return [
        _Leased(one, alerts[one.alert_id], rules[alerts[one.alert_id].rule_id], channels.get(one.channel_id or one.id))
        for one in taken
    ]
