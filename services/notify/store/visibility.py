"""Row scopes as SQL: what a principal may see of rules, alerts and deliveries."""

from sqlalchemy import ColumnElement, false, or_, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notify.store.tables import ALERT, DELIVERY, RULE
from shared.auth.directory import Visibility, visible
from shared.auth.principal import Principal


async def rules_seen(tx: AsyncConnection, principal: Principal) -> ColumnElement[bool]:
    """A manager sees the rules of the own people and about the own teams and people, an admin all, a rep none."""
    sight = await visible(tx, principal)
    if sight.everything:
        return true()
    if principal.role != "manager":
        return false()
    people = (f"person:{key.removeprefix('external:')}" for key in sight.owner_keys)
    return or_(RULE.c.bounded_by.in_(sight.owner_keys), RULE.c.scope.in_([*people, *_teams(sight)]))


async def alerts_seen(tx: AsyncConnection, principal: Principal) -> ColumnElement[bool]:
    """A rep sees alerts addressed to the rep, a manager those of the own people and teams too, an admin all."""
    sight = await visible(tx, principal)
    if sight.everything:
        return true()
    addressed = ALERT.c.alert_id.in_(select(DELIVERY.c.alert_id).where(DELIVERY.c.recipient.in_(sight.owner_keys)))
    if principal.role != "manager":
        return addressed
    return or_(addressed, ALERT.c.owner.in_(sight.owner_keys), ALERT.c.scope.in_(_teams(sight)))


async def deliveries_seen(tx: AsyncConnection, principal: Principal) -> ColumnElement[bool]:
    """A rep sees deliveries to the rep, a manager those of all alerts that the manager sees, an admin all."""
    if principal.is_admin:
        return true()
    if principal.role == "manager":
        return DELIVERY.c.alert_id.in_(select(ALERT.c.alert_id).where(await alerts_seen(tx, principal)))
    sight = await visible(tx, principal)
    return DELIVERY.c.recipient.in_(sight.owner_keys)


def _teams(sight: Visibility) -> list[str]:
    return [f"team:{team_id}" for team_id in sight.team_ids]
