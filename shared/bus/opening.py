"""Opens the log that a URL names."""

from urllib.parse import parse_qs, urlsplit

from shared.bus.kafka_bus import KafkaBus
from shared.bus.postgres import PostgresBus
from shared.bus.protocol import Bus
from shared.db.engine import Database


class UnknownLog(ValueError):  # noqa: N818 - the name of the fact
    """A URL that names no log that this version knows."""


async def open_bus(url: str) -> Bus:
    """Return the log behind `url`, ready for use: `kafka://host:port[,host:port][?prefix=...]` or `postgresql+asyncpg://`.

    Raises UnknownLog, and an infrastructure error while the log cannot be reached or its topics are not there.
    """
    if url.startswith("postgresql"):
        return await _prepared(PostgresBus(Database(url, "bus")))
    servers, prefix = read_kafka_url(url)
    return await _prepared(KafkaBus(servers, prefix))


def read_kafka_url(url: str) -> tuple[list[str], str]:
    """Return the brokers (`host:port`) and the prefix of topic names that a `kafka://` URL tells; raises UnknownLog."""
    parts = urlsplit(url)
    servers = [server for server in parts.netloc.split(",") if server]
    if parts.scheme != "kafka" or not servers:
        raise UnknownLog(f"{parts.scheme or 'nothing'}: names no log: kafka://host:port or postgresql+asyncpg://...")
    return servers, "".join(parse_qs(parts.query).get("prefix", []))


async def _prepared(bus: KafkaBus | PostgresBus) -> Bus:
    try:
        await bus.prepare()
    except BaseException:
        await bus.close()
        raise
    return bus
