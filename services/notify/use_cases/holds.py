"""The clock's part in alerts: what has lasted as long as its rule's `for` fires."""

from dataclasses import replace

from services.notify.store import alerts as alert_store
from services.notify.store import rules as rule_store
from services.notify.use_cases.alerting import Alerting, Notice
from shared.db.engine import Database

LARGEST_BATCH = 100


async def fire_due(database: Database, alerting: Alerting) -> int:
    """Fire pending alerts whose time has come and return how many; each fires as of the moment it was due.

    Any number of replicas may do this at once.
    """
    fired = 0
    while True:
        async with database.transaction() as tx:
            due = await alert_store.due(tx, alerting.clock(), LARGEST_BATCH)
            alerts = await alert_store.lock_due(tx, due, alerting.clock()) if due else []
            rules = await rule_store.named(tx, {alert.rule_id for alert in alerts})
            ripe = [replace(alert, fired_at=alert.due_at) for alert in alerts]
            await alerting.fire(tx, [Notice(alert, rules[alert.rule_id], alert.cause) for alert in ripe])
        fired += len(alerts)
        if len(alerts) < LARGEST_BATCH:
            return fired
