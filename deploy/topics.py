"""`salesgrain topics`: lists the topics of the contract, and makes and checks them in the log that BUS_URL names."""

from shared.bus.kafka import opened_admin
from shared.bus.kafka_faults import KafkaUnavailable
from shared.bus.kafka_topics import Finding, arrange_topics
from shared.bus.opening import UnknownLog, read_kafka_url
from shared.bus.postgres import PostgresBus
from shared.db.engine import Database
from shared.db.errors import is_infrastructure
from shared.events.catalogue import TOPICS, Topic


def show_topics() -> str:
    """Return the topics of the contract, a line each."""
    lines = [
        f"{topic.name:24} {topic.partitions:2} partitions  owner {topic.owner:9} {_content(topic)}"
        for topic in TOPICS.values()
    ]
    return "\n".join(lines)


def _content(topic: Topic) -> str:
    return ", ".join(topic.event_types) or f"dead letters of the group {topic.dead_letters_of}"


async def prepare_topics(bus_url: str, replication: int, *, check_only: bool) -> tuple[str, bool]:
    """Make what is missing in the log (unless `check_only`); return what to print, and whether all is right.

    What an operator set otherwise (retention) is told, and is right unless it is asked for by `check_only`.
    """
    try:
        if bus_url.startswith("postgresql"):
            return await _prepare_postgres(bus_url, check_only=check_only)
        servers, prefix = read_kafka_url(bus_url)
        async with opened_admin(servers) as admin:
            findings = await arrange_topics(admin, prefix=prefix, replication=replication, check_only=check_only)
    except (UnknownLog, KafkaUnavailable) as error:
        return f"salesgrain: BUS_URL: {error}", False
    refused = ("wrong", "changed") if check_only else ("wrong",)
    return "\n".join(map(_line, findings)), all(finding.state not in refused for finding in findings)


def _line(finding: Finding) -> str:
    return f"{finding.topic:32} {finding.state:8} {finding.text}"


async def _prepare_postgres(bus_url: str, *, check_only: bool) -> tuple[str, bool]:
    if check_only:
        return "a log in PostgreSQL has nothing to check: its services prepare it themselves", True
    bus = PostgresBus(Database(bus_url, "bus"))
    try:
        await bus.prepare()
    except Exception as error:
        if not is_infrastructure(error):
            raise
        return f"salesgrain: BUS_URL: {error}", False
    finally:
        await bus.close()
    return f"the log {bus.id} has its {len(TOPICS)} topics", True
