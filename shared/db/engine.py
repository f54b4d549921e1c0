"""One database of one service: pool, transactions, and the signal that its outbox has something to send."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import msgspec
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from shared.db.faultpoints import faultpoint
from shared.db.silence import end_when_silent

_OUTBOX_WRITTEN = "outbox_written"
_WOKEN_AFTER = "woken_after"


class Signal:
    """Wakes one waiting loop; setting it twice before the loop looks wakes it once."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self, timeout: float) -> bool:
        """Return True when set within `timeout` seconds, False otherwise; clears it."""
        if not self._event.is_set():
            try:
                # Not wait_for: before Python 3.12 it loses a cancellation that comes together with the event.
                async with asyncio.timeout(timeout):
                    await self._event.wait()
            except TimeoutError:
                return False
        self._event.clear()
        return True


class Database:
    """A service's own database. Nothing connects before the first use; `close` ends all connections."""

    def __init__(self, url: str, application: str, pool_size: int = 10) -> None:
        self.url = url
        self.application = application
        self.outbox_written = Signal()
        self.engine: AsyncEngine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=10,
            json_serializer=_to_json,
            json_deserializer=msgspec.json.decode,
            # Errors are logged and kept with dead letters: the values of a statement may be secrets or personal.
            hide_parameters=True,
            connect_args={
                "timeout": 10,
                "server_settings": {
                    "application_name": application,
                    "jit": "off",
                    "idle_in_transaction_session_timeout": "30s",
                    "timezone": "UTC",
                },
            },
        )
        event.listen(self.engine.sync_engine, "connect", _end_when_silent)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """One READ COMMITTED transaction: committed at the end of the block, rolled back when it raises.

        A block may also roll back by itself (`await tx.rollback()`) and then end.
        When the block wrote to the outbox, the relay is woken after the commit.
        """
        async with self.engine.connect() as tx:
            # The dictionary belongs to the pooled connection: a mark of a rolled back predecessor must not stay.
            tx.info.pop(_OUTBOX_WRITTEN, None)
            tx.info.pop(_WOKEN_AFTER, None)
            transaction = await tx.begin()
            try:
                yield tx
                faultpoint(f"{self.application}.commit")
                if transaction.is_active:
                    await transaction.commit()
            except BaseException:
                # A connection that is gone cannot roll back; that must not hide why, least of all a cancellation.
                with suppress(DBAPIError, OSError):
                    await transaction.close()
                raise
            faultpoint(f"{self.application}.committed")
            if tx.info.pop(_OUTBOX_WRITTEN, False):
                self.outbox_written.set()
            for signal in tx.info.pop(_WOKEN_AFTER, ()):
                signal.set()

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[AsyncConnection]:
        """One connection whose statements commit one by one: a round trip each, nothing around them."""
        async with self.engine.connect() as plain:
            yield await plain.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """One read-only REPEATABLE READ transaction: all its statements see the same instant."""
        async with self.engine.connect() as plain:
            tx = await plain.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            async with tx.begin():
                yield tx

    async def connect_dedicated(self, **server_settings: str) -> "asyncpg.Connection[Any]":
        """Return a raw asyncpg connection outside the pool, for session locks and COPY; the caller closes it."""
        connection = await asyncpg.connect(
            make_url(self.url).set(drivername="postgresql").render_as_string(hide_password=False),
            timeout=10,
            server_settings={"application_name": f"{self.application}-dedicated", **server_settings},
        )
        end_when_silent(connection._transport)
        return connection

    async def close(self) -> None:
        await self.engine.dispose()


def _end_when_silent(connection: Any, _record: object) -> None:
    end_when_silent(connection.driver_connection._transport)


def _to_json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def mark_outbox_written(tx: AsyncConnection) -> None:
    """Say that `tx` wrote outbox rows, so that its commit wakes the relay."""
    tx.info[_OUTBOX_WRITTEN] = True


def wake_after_commit(tx: AsyncConnection, signal: Signal) -> None:
    """Set `signal` once `tx` has committed, and not at all when it is rolled back."""
    tx.info.setdefault(_WOKEN_AFTER, set()).add(signal)
