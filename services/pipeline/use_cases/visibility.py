"""Whose rows the caller may see, as owner keys for the store."""

from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.store.deals import OwnerKeys
from shared.auth.directory import visible
from shared.auth.principal import Principal


async def visible_keys(tx: AsyncConnection, principal: Principal | None) -> OwnerKeys:
    """Return the owner keys that `principal` may see; None is everything, also for the system itself (no principal)."""
    if principal is None:
        return None
    sight = await visible(tx, principal)
    return None if sight.everything else frozenset(sight.owner_keys)


def actor_of(principal: Principal) -> str:
    """Return who did it, as events and history tell it: the person's id, or the subject of a machine's token."""
    return principal.person or principal.subject
