"""Advisory locks of one database session: who holds one is alive, and its end frees them.

The connection is dedicated and direct (a transaction pooler would leak the locks to strangers). The server ends it when
nobody asked anything for 6 s: a frozen owner loses its locks although its socket is open.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Collection
from typing import Any

import asyncpg

from shared.db.engine import Database

IDLE_TIMEOUT = "6s"
ANSWER_SECONDS = 4.0
# The last one is what the driver says when the connection breaks between two of its own steps.
_LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

_LOCKS = """
    SELECT classid::bigint AS high, objid::bigint AS low, objsubid = 2 AS is_member
    FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock'
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class LocksLost(ConnectionError):  # noqa: N818 - the name of the fact
    """The session is gone and its locks with it: whatever they allowed must end at once."""


class SessionLocks:
    """The locks of one member of `family`; being a member is a lock too."""

    def __init__(self, connection: "asyncpg.Connection[Any]", family: str) -> None:
        self._connection = connection
        self._family = int.from_bytes(_digest(family, 4)) >> 1
        self._member = secrets.randbits(31)

    @classmethod
    async def join(cls, database: Database, family: str) -> "SessionLocks":
        """Connect and become a live member of `family`; raises OSError or a PostgreSQL error when it cannot."""
        connection = await database.connect_dedicated(idle_session_timeout=IDLE_TIMEOUT, tcp_keepalives_idle="5")
        locks = cls(connection, family)
        await locks._ask("SELECT pg_try_advisory_lock($1::int, $2::int)", locks._family, locks._member)
        return locks

    async def look(self, names: Collection[str]) -> tuple[int, frozenset[str]]:
        """Return the number of live members and which of `names` anybody holds; raises LocksLost."""
        rows = await self._ask(_LOCKS)
        members = {row["low"] for row in rows if row["is_member"] and row["high"] == self._family}
        if self._member not in members:
            await self.close()
            raise LocksLost
        held = {(row["high"], row["low"]) for row in rows if not row["is_member"]}
        return len(members), frozenset(name for name in names if divmod(_key(name), 1 << 32) in held)

    async def take(self, name: str) -> bool:
        """Lock `name` unless somebody holds it; a lock that is held already must not be taken twice."""
        rows = await self._ask("SELECT pg_try_advisory_lock($1) AS taken", _signed(_key(name)))
        return bool(rows[0]["taken"])

    async def give_back(self, name: str) -> None:
        await self._ask("SELECT pg_advisory_unlock($1)", _signed(_key(name)))

    async def close(self) -> None:
        """End the session; its locks are free at once, even when the server does not answer."""
        try:
            await self._connection.close(timeout=1)
        except _LOST:
            self._connection.terminate()

    async def _ask(self, statement: str, *values: object) -> "list[asyncpg.Record]":
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return list(await self._connection.fetch(statement, *values))
        except _LOST as error:
            self._connection.terminate()
            raise LocksLost from error


def _key(name: str) -> int:
    return int.from_bytes(_digest(name, 8))


def _signed(key: int) -> int:
    return key - (1 << 64) if key >> 63 else key


def _digest(name: str, size: int) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=size).digest()
