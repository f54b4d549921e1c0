"""Somebody has seen an alert and takes it."""

from dataclasses import replace
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notify.domain.alert import Alert, KpiSubject
from services.notify.domain.versions import next_version
from services.notify.store import alerts as alert_store
from services.notify.store.visibility import alerts_seen
from services.notify.use_cases.alerting import Alerting, announce_alerts
from shared.auth.principal import Principal
from shared.tracing import current_cause


async def acknowledge(
    tx: AsyncConnection, alert_id: UUID, principal: Principal, note: str | None, alerting: Alerting
) -> Alert | None:
    """Acknowledge an alert once; null when the principal sees none.

    What a value caused goes on firing until the value has recovered; what an event caused is over with it.
    """
    alert = await alert_store.find(tx, alert_id, await alerts_seen(tx, principal), lock=True)
    if alert is None or alert.acknowledged_at is not None:
        return alert
    now = alerting.clock()
    seen = replace(alert, acknowledged_at=now, acknowledged_by=principal.person or principal.subject, note=note)
    cause = current_cause()
    if seen.state == "firing" and not isinstance(seen.subject, KpiSubject):
        resolved = await alerting.resolve(tx, [(replace(seen, resolved_at=now), cause)], "acknowledged")
        return resolved[0]
    changed = replace(seen, recorded_at=now, version=next_version(seen.version, now))
    await alert_store.save(tx, [changed])
    await announce_alerts(tx, [changed], {changed.id: cause})
    return changed
