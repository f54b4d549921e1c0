"""The life of alerts: opened, fired, resolved; each with its deliveries and its event in the same transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notify.domain.alert import Alert, Resolution
from services.notify.domain.channel import Channel
from services.notify.domain.delivery import Delivery
from services.notify.domain.rule import Addressed, Rule
from services.notify.domain.versions import next_version
from services.notify.store import alerts as alert_store
from services.notify.store import channels as channel_store
from services.notify.store import deliveries as delivery_store
from services.notify.use_cases.addressing import recipients
from shared.calendar import local_day
from shared.clock import Clock
from shared.db.engine import Signal, wake_after_commit
from shared.db.outbox import announce_messages
from shared.events.codec import encode
from shared.ids import new_id
from shared.tracing import Cause


@dataclass(frozen=True, slots=True)
class Notice:
    """An alert of a rule and what caused its present transition."""

    alert: Alert
    rule: Rule
    cause: Cause


@dataclass(frozen=True, slots=True)
class Alerting:
    """Writes transitions of alerts; the caller has locked what exists already. `wake` wakes the sender."""

    clock: Clock
    zone: ZoneInfo
    wake: Signal

    async def open(self, tx: AsyncConnection, notices: Sequence[Notice]) -> None:
        """Add new alerts, pending or firing; one that is there already is left alone and told to nobody again."""
        now = self.clock()
        stamped = [_stamped(one, now) if one.alert.state == "firing" else one for one in notices]
        added = await alert_store.add(tx, [one.alert for one in stamped])
        await self._tell_firing(tx, [one for one in stamped if one.alert.id in added and one.alert.state == "firing"])

    async def fire(self, tx: AsyncConnection, notices: Sequence[Notice]) -> Sequence[Alert]:
        """Let pending alerts fire and return them; `alert.fired_at` is set by the caller."""
        now = self.clock()
        stamped = [_stamped(replace(one, alert=replace(one.alert, state="firing")), now) for one in notices]
        await alert_store.save(tx, [one.alert for one in stamped])
        await self._tell_firing(tx, stamped)
        return [one.alert for one in stamped]

    async def resolve(
        self, tx: AsyncConnection, ended: Sequence[tuple[Alert, Cause]], resolution: Resolution
    ) -> Sequence[Alert]:
        """Resolve firing alerts; those who were told of the firing are told of it. `resolved_at` is set by the caller.

        An acknowledged alert has been seen: the inbox is not told again.
        """
        if not ended:
            return []
        now = self.clock()
        alerts = [
            replace(
                alert,
                state="resolved",
                resolution=resolution,
                resolved_at=alert.resolved_at or now,
                recorded_at=now,
                version=next_version(alert.version, now),
            )
            for alert, _ in ended
        ]
        await alert_store.save(tx, alerts)
        told = await delivery_store.of_alerts(tx, [alert.id for alert in alerts])
        quiet = {alert.id for alert in alerts if alert.resolution == "acknowledged"}
        await delivery_store.add(
            tx,
            [
                _again(delivery, now)
                for delivery in told
                if delivery.state != "dead" and not (delivery.kind == "in_app" and delivery.alert_id in quiet)
            ],
        )
        wake_after_commit(tx, self.wake)
        await announce_alerts(tx, alerts, {alert.id: cause for alert, cause in ended})
        return alerts

    async def _tell_firing(self, tx: AsyncConnection, notices: Sequence[Notice]) -> None:
        if not notices:
            return
        now = self.clock()
        channels = await channel_store.named(tx, {channel for one in notices for channel in one.rule.channels})
        addressed = [(one.alert, to) for one in notices if (to := _addressed(one.rule, channels))]
        told = await recipients(tx, addressed, local_day(now, self.zone))
        made = [delivery for one in notices for delivery in _deliveries(one, channels, told.get(one.alert.id), now)]
        await delivery_store.add(tx, made)
        wake_after_commit(tx, self.wake)
        await announce_alerts(tx, [one.alert for one in notices], {one.alert.id: one.cause for one in notices})


async def announce_alerts(tx: AsyncConnection, alerts: Sequence[Alert], causes: Mapping[UUID, Cause]) -> None:
    """Announce alerts as they stand, each because of its own cause."""
    ordered = sorted(alerts, key=lambda alert: (str(alert.id), alert.version))
    await announce_messages(tx, [encode(alert.changed(), causes[alert.id]) for alert in ordered])


def _stamped(notice: Notice, now: datetime) -> Notice:
    version = next_version(notice.alert.version, now)
    return replace(notice, alert=replace(notice.alert, recorded_at=now, version=version))


def _addressed(rule: Rule, channels: Mapping[UUID, Channel]) -> Addressed | None:
    """Return whom the rule tells in the app; an in-app channel without a name means the owner."""
    if rule.to is not None:
        return rule.to
    in_app = any(channels[one].kind == "in_app" for one in rule.channels if one in channels)
    return "owner" if in_app else None


def _deliveries(
    notice: Notice, channels: Mapping[UUID, Channel], recipient: str | None, now: datetime
) -> list[Delivery]:
    sending = [channels[one] for one in notice.rule.channels if one in channels]
    made = [
        _delivery(notice.alert.id, channel, None, now)
        for channel in sending
        if channel.kind != "in_app" and channel.enabled
    ]
    return made if recipient is None else [*made, _delivery(notice.alert.id, None, recipient, now)]


def _delivery(alert_id: UUID, channel: Channel | None, recipient: str | None, now: datetime) -> Delivery:
    return Delivery(
        id=new_id(),
        alert_id=alert_id,
        transition="fired",
        kind=channel.kind if channel else "in_app",
        channel_id=channel.id if channel else None,
        recipient=recipient,
        state="pending",
        created_at=now,
        next_at=now,
        queued_at=now,
    )


def _again(told: Delivery, now: datetime) -> Delivery:
    return replace(
        told, id=new_id(), transition="resolved", state="pending",
        created_at=now, next_at=now, queued_at=now, tries=0, attempts=(), sent_at=None,
    )  # fmt: skip
