"""The export of `kpi.values.v1`: what is announced at present, with the versions under which it was."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.store.watches import announced_values, watches_of
from shared.events.codec import Message, encode
from shared.events.kpi import ValueAnnounced

_PAGE = text("SELECT key FROM watch WHERE key > :after ORDER BY key LIMIT :limit")


class ValuesExport:
    """Pages go by watch: all values of a watch are on one page."""

    async def page(
        self, tx: AsyncConnection, after_stream: str | None, limit: int
    ) -> tuple[Sequence[Message], str | None]:
        """Return the values of up to `limit` watches behind the watch `after_stream`, and where to go on."""
        keys = (await tx.execute(_PAGE, {"after": after_stream or "", "limit": limit})).scalars().all()
        values = await _announced(tx, keys)
        return [encode(value) for value in values], keys[-1] if len(keys) == limit else None

    async def after(self, tx: AsyncConnection, stream: str, version: int) -> Sequence[Message]:
        """Return the value of `stream` if it is newer than `version`."""
        key = stream.removeprefix("value:").rsplit(":", 2)[0]
        values = await _announced(tx, [key])
        return [encode(value) for value in values if value.stream == stream and value.version > version]


async def _announced(tx: AsyncConnection, keys: Sequence[str]) -> list[ValueAnnounced]:
    values = await announced_values(tx, await watches_of(tx, everything=False, keys=keys, kpis=(), scopes=()))
    return sorted(values, key=lambda value: value.key)
