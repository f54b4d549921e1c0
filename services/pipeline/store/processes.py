"""Processes in the database: a version never changes, so that a reader may keep it in memory."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from sqlalchemy import ColumnElement, insert, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.process import Process
from services.pipeline.store.tables import process, process_version

ProcessKey = tuple[str, int]


class Published(NamedTuple):
    """A version of a process, when it was published, and the version of the state event that told it."""

    process: Process
    created_at: datetime
    state_version: int


class Head(NamedTuple):
    """The newest version of a code (0 before the first) and the version of the state event that told it."""

    version: int
    state_version: int


class ProcessCache:
    """The process versions that were asked for so far; each is read once."""

    def __init__(self) -> None:
        self._known: dict[ProcessKey, Process] = {}

    async def load(self, tx: AsyncConnection, keys: Iterable[ProcessKey]) -> Mapping[ProcessKey, Process]:
        """Return the processes of `keys` (code, version); those that do not exist are left out."""
        wanted = set(keys)
        missing = wanted - self._known.keys()
        if missing:
            found = await _published(tx, tuple_(process_version.c.code, process_version.c.version).in_(missing))
            self._known.update({(each.process.code, each.process.version): each.process for each in found})
        return {key: self._known[key] for key in wanted if key in self._known}

    async def newest(self, tx: AsyncConnection, code: str) -> Process | None:
        """Return the newest version of a code, or None."""
        version = await tx.scalar(select(process.c.version).where(process.c.code == code))
        return None if version is None else (await self.load(tx, [(code, version)])).get((code, version))

    async def all_newest(self, tx: AsyncConnection) -> Mapping[str, Process]:
        """Return the newest version of every code."""
        keys = [(row.code, row.version) for row in await tx.execute(select(process).where(process.c.version > 0))]
        return {code: found for (code, _), found in (await self.load(tx, keys)).items()}


async def find_process(tx: AsyncConnection, code: str, version: int | None = None) -> Published | None:
    """Return a version of a process, the newest by default."""
    wanted = select(process.c.version).where(process.c.code == code).scalar_subquery() if version is None else version
    found = await _published(tx, (process_version.c.code == code) & (process_version.c.version == wanted))
    return found[0] if found else None


async def list_processes(tx: AsyncConnection, after: str, limit: int) -> Sequence[Published]:
    """Return the newest versions of the codes behind `after`, in order of their codes."""
    newest = tuple_(process_version.c.code, process_version.c.version).in_(select(process.c.code, process.c.version))
    return await _published(tx, newest & (process_version.c.code > after), limit)


async def _published(tx: AsyncConnection, where: ColumnElement[bool], limit: int | None = None) -> Sequence[Published]:
    rows = await tx.execute(
        select(process_version.c.definition, process_version.c.created_at, process_version.c.state_version)
        .where(where)
        .order_by(process_version.c.code, process_version.c.version)
        .limit(limit)
    )
    return [Published(msgspec.convert(row.definition, Process), row.created_at, row.state_version) for row in rows]


async def lock_head(tx: AsyncConnection, code: str) -> Head:
    """Lock a code, known or not, and return its head."""
    await tx.execute(upsert(process).values(code=code, version=0, state_version=0).on_conflict_do_nothing())
    row = (await tx.execute(select(process).where(process.c.code == code).with_for_update())).one()
    return Head(row.version, row.state_version)


async def save_version(tx: AsyncConnection, published: Published, actor: str | None) -> None:
    """Write a new version and make it the newest; the caller holds the lock of its code."""
    new = published.process
    await tx.execute(
        insert(process_version).values(
            code=new.code,
            version=new.version,
            definition=msgspec.to_builtins(new),
            state_version=published.state_version,
            created_at=published.created_at,
            created_by=actor,
        )
    )
    head = update(process).where(process.c.code == new.code)
    await tx.execute(head.values(version=new.version, state_version=published.state_version))
