"""The in-app inbox: told once, read when it is read, counted by the server."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notify.domain.delivery import Parcel
from services.notify.store import inbox as inbox_store
from services.notify.store.inbox import InboxItem
from shared.auth.directory import owner_keys
from shared.auth.principal import Principal
from shared.clock import Clock, rfc3339
from shared.db.engine import Database
from shared.web.feeds import Broadcast, FeedItem, append_to_feed

FEED = "inbox"


@dataclass(frozen=True, slots=True)
class Postman:
    """Puts parcels into inboxes and tells the open streams of their owners."""

    database: Database
    clock: Clock
    wake: Broadcast

    async def post(self, parcel: Parcel) -> None:
        """Write the item of a delivery, once; the stream entry carries the number of unread ones as it is then."""
        delivery = parcel.delivery
        recipient = delivery.recipient or ""
        item = InboxItem(delivery.id, recipient, delivery.alert_id, delivery.transition, self.clock())
        async with self.database.transaction() as tx:
            if not await inbox_store.add(tx, item):
                return
            await _tell(tx, item, await owner_keys(tx, recipient))
        self.wake.notify()


async def mark_read(
    tx: AsyncConnection, item_id: UUID, principal: Principal, clock: Clock
) -> tuple[InboxItem, int] | None:
    """Mark an own item as read and count what is left unread; null when the principal has no such item."""
    keys = await own_keys(tx, principal)
    item = await inbox_store.read(tx, item_id, keys, clock())
    return None if item is None else (item, await _tell(tx, item, keys))


async def own_keys(tx: AsyncConnection, principal: Principal) -> tuple[str, ...]:
    """Return every owner key of the person who asks; none for a machine."""
    return await owner_keys(tx, principal.person) if principal.person else ()


async def _tell(tx: AsyncConnection, item: InboxItem, keys: tuple[str, ...]) -> int:
    # One after the other for one person: a count must have seen every change before it.
    await inbox_store.one_at_a_time(tx, item.recipient)
    unread = await inbox_store.unread(tx, keys)
    told = {
        "id": str(item.id),
        "alert_id": str(item.alert_id),
        "recipient": item.recipient,
        "type": f"alert.{item.transition}",
        "created_at": rfc3339(item.created_at),
        "read_at": rfc3339(item.read_at) if item.read_at else None,
        "unread": unread,
    }
    await append_to_feed(tx, FEED, [FeedItem(f"person:{item.recipient}", "inbox_item", told)])
    return unread
