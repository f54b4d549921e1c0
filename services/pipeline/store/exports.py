"""Everything pipeline ever announced, for readers that are new or lost their place."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Row, Select, Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.process_events import process_changed
from services.pipeline.store.processes import Published, find_process, list_processes
from services.pipeline.store.tables import customer, customer_history, deal, deal_history
from shared.events.codec import Message, encode
from shared.events.pipeline import CUSTOMERS, DEALS, PROCESSES
from shared.tracing import Cause, new_traceparent
from shared.web.exports import ExportSource

Page = tuple[Sequence[Message], str | None]


class StreamExport:
    """A dense stream: the very messages, from the history that is kept for ever (deleted and erased things too)."""

    def __init__(self, topic: str, prefix: str, things: Table, history: Table) -> None:
        self._topic = topic
        self._prefix = prefix
        self._things = things
        self._history = history
        self._owner: Column[UUID] = history.primary_key.columns[0]

    async def page(self, tx: AsyncConnection, after_stream: str | None, limit: int) -> Page:
        """Return the complete streams of the next `limit` things in the order of their ids."""
        ids = select(self._things.c.id).order_by(self._things.c.id).limit(limit)
        if after_stream is not None:
            ids = ids.where(self._things.c.id > self._id_of(after_stream))
        found = (await tx.scalars(ids)).all()
        rows = await tx.execute(self._messages().where(self._owner.in_(found)))
        following = f"{self._prefix}:{found[-1]}" if len(found) == limit else None
        return [self._message(row) for row in rows], following

    async def after(self, tx: AsyncConnection, stream: str, version: int) -> Sequence[Message]:
        """Return what a stream tells behind a version."""
        statement = self._messages().where(self._owner == self._id_of(stream), self._history.c.version > version)
        return [self._message(row) for row in await tx.execute(statement)]

    def _messages(self) -> Select[Any]:
        columns = (self._owner.label("owner_id"), self._history.c.headers, self._history.c.value)
        return select(*columns).order_by(self._owner, self._history.c.version)

    def _message(self, row: Row[Any]) -> Message:
        return Message(self._topic, f"{self._prefix}:{row.owner_id}", row.headers, row.value)

    def _id_of(self, stream: str) -> UUID:
        try:
            return UUID(stream.removeprefix(f"{self._prefix}:"))
        except ValueError:
            return UUID(int=0)


class ProcessExport:
    """The newest version of every process, as the state event that told it."""

    async def page(self, tx: AsyncConnection, after_stream: str | None, limit: int) -> Page:
        """Return the events of the next `limit` codes."""
        found = await list_processes(tx, (after_stream or "").removeprefix("process:"), limit)
        return [_told(each) for each in found], f"process:{found[-1].process.code}" if len(found) == limit else None

    async def after(self, tx: AsyncConnection, stream: str, version: int) -> Sequence[Message]:
        """Return the present event of a process when it is newer than `version`."""
        found = await find_process(tx, stream.removeprefix("process:"))
        return [_told(found)] if found is not None and found.state_version > version else []


def _told(published: Published) -> Message:
    event = process_changed(*published)
    # Its cause was not kept: told again, it is caused by itself.
    return encode(event, Cause(str(event.id), None, new_traceparent()))


EXPORTS: Mapping[str, ExportSource] = {
    DEALS: StreamExport(DEALS, "deal", deal, deal_history),
    CUSTOMERS: StreamExport(CUSTOMERS, "customer", customer, customer_history),
    PROCESSES: ProcessExport(),
}
