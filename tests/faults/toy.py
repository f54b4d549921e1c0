"""A toy pipeline and a toy kpi on the real outbox, relay, bus and consumer, with the invariants that no fault may break."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID, uuid5

import msgspec
from sqlalchemy import BigInteger, Column, Integer, LargeBinary, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.bus.consumer import Consumer
from shared.bus.postgres import PostgresBus
from shared.bus.protocol import Bus, TopicPartition
from shared.bus.relay import Relay
from shared.bus.subscription import Delivery, Subscription
from shared.db.engine import Database
from shared.db.outbox import announce_messages
from shared.db.platform import new_metadata
from shared.events.codec import Message, encode
from shared.events.pipeline import DEALS, DealChanged, DealState, Stage
from shared.ids import EVENT_NAMESPACE, event_id

GROUP = "kpi.toy"
OWNERS = ("ann", "bo", "chen")
LONG_AGO = datetime(2026, 1, 5, 9, tzinfo=UTC)

pipeline_metadata = new_metadata()
Table(
    "deal",
    pipeline_metadata,
    Column("id", Uuid, primary_key=True),
    Column("version", Integer),
    Column("amount", BigInteger),
)
Table("request", pipeline_metadata, Column("key", Text, primary_key=True))
Table(
    "history", pipeline_metadata,
    Column("deal_id", Uuid, primary_key=True), Column("version", Integer, primary_key=True),
    Column("owner", Text), Column("amount", BigInteger), Column("delta", BigInteger),
    Column("headers", JSONB), Column("value", LargeBinary),
)  # fmt: skip

kpi_metadata = new_metadata()
Table(
    "cell",
    kpi_metadata,
    Column("owner", Text, primary_key=True),
    Column("total", BigInteger),
    Column("changes", BigInteger),
)
# No unique key: what is applied twice must be seen by the check, not refused by the table.
Table("ledger", kpi_metadata, Column("deal_id", Uuid), Column("version", Integer))


def deal_id(number: int) -> UUID:
    return uuid5(EVENT_NAMESPACE, f"toy deal {number}")


def deal_changed(deal: UUID, version: int, amount: int, before: int) -> DealChanged:
    def state(of: int) -> DealState:
        return DealState(
            process="standard", process_version=1, stage=Stage("lead", "open", 0), status="open",
            owner=OWNERS[deal.int % len(OWNERS)], amount=of, currency="CNY",
        )  # fmt: skip

    return DealChanged(
        version=version, recorded_at=LONG_AGO, occurred_at=LONG_AGO, deal_id=deal, deal=state(amount),
        before=state(before), changed=("amount",),
    )  # fmt: skip


async def fold(tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
    """The toy's use case: totals per owner, and a ledger of what was applied."""
    deltas: Counter[str] = Counter()
    changes: Counter[str] = Counter()
    for delivery in deliveries:
        event = delivery.event
        assert isinstance(event, DealChanged)
        assert event.before is not None
        deltas[str(event.deal.owner)] += (event.deal.amount or 0) - (event.before.amount or 0)
        changes[str(event.deal.owner)] += 1
    await tx.execute(
        text(
            """
            INSERT INTO cell AS c (owner, total, changes)
            SELECT * FROM unnest(CAST(:owners AS text[]), CAST(:totals AS bigint[]), CAST(:changes AS bigint[])) ORDER BY 1
            ON CONFLICT (owner) DO UPDATE SET total = c.total + excluded.total, changes = c.changes + excluded.changes
            """
        ),
        {
            "owners": sorted(deltas),
            "totals": [deltas[owner] for owner in sorted(deltas)],
            "changes": [changes[owner] for owner in sorted(deltas)],
        },
    )
    await tx.execute(
        text("INSERT INTO ledger SELECT * FROM unnest(CAST(:deals AS uuid[]), CAST(:versions AS int[]))"),
        {
            "deals": [delivery.event.deal_id for delivery in deliveries],  # type: ignore[attr-defined]
            "versions": [delivery.event.version for delivery in deliveries],
        },
    )


@dataclass
class ToyExport:
    """The owner's export, read from the toy's history."""

    pipeline: Database
    asked: list[str] = field(default_factory=list)

    async def pages(self, topic: str) -> AsyncIterator[Sequence[Message]]:
        self.asked.append(f"pages {topic}")
        async with self.pipeline.transaction() as tx:
            deals = (await tx.execute(text("SELECT id FROM deal ORDER BY id"))).scalars().all()
        for deal in deals:
            yield await self._history(deal, 0)

    async def after(self, topic: str, stream: str, version: int) -> Sequence[Message]:
        self.asked.append(f"{topic} {stream} after {version}")
        return await self._history(UUID(stream.removeprefix("deal:")), version)

    async def _history(self, deal: UUID, version: int) -> list[Message]:
        query = text(
            "SELECT headers::text AS headers, value FROM history WHERE deal_id = :d AND version > :v ORDER BY version"
        )
        async with self.pipeline.transaction() as tx:
            rows = (await tx.execute(query, {"d": deal, "v": version})).all()
        return [
            Message(DEALS, f"deal:{deal}", msgspec.json.decode(row.headers, type=dict[str, str]), row.value)
            for row in rows
        ]


class World:
    """Two services' databases and the log between them."""

    def __init__(self, pipeline: Database, kpi: Database, bus: Bus) -> None:
        self.pipeline = pipeline
        self.kpi = kpi
        self.bus = bus
        self.export = ToyExport(pipeline)
        self._cast: list[Relay | Consumer] = []

    def relay(self, relay: type[Relay] = Relay) -> Relay:
        self._cast.append(made := relay(self.pipeline, self.bus, "pipeline"))
        return made

    def subscription(self, handler: Callable[..., object] = fold) -> Subscription:
        return Subscription(GROUP, (DEALS,), {DealChanged: handler})  # type: ignore[dict-item]

    def consumer(self, consumer: type[Consumer] = Consumer, subscription: Subscription | None = None) -> Consumer:
        self._cast.append(made := consumer(self.kpi, self.bus, subscription or self.subscription(), self.export))
        return made

    async def close(self) -> None:
        for one in self._cast:
            await one.close()
        await self.bus.close()
        await self.kpi.close()
        await self.pipeline.close()

    async def change(self, number: int, amount: int, request: str | None = None) -> None:
        """Change a deal's amount: deal, history and outbox in one transaction; a known request changes nothing."""
        async with self.pipeline.transaction() as tx:
            await write_change(tx, number, amount, request)

    async def log(self) -> list[Message]:
        """Everything in the log, partition by partition."""
        parts = [TopicPartition(DEALS, part) for part in range(self.bus.partitions(DEALS))]
        reader = self.bus.reader([DEALS])
        await reader.assign(await self.bus.low_offsets(parts))
        found: list[Message] = []
        while records := await reader.poll(500, 0):
            found.extend(record.message for record in records)
        await reader.close()
        return found

    async def broken(self) -> set[str]:
        """Return the invariants of which something is not so (reference: I1 to I7)."""
        async with self.pipeline.transaction() as tx:
            deals = {row.id: row.version for row in await tx.execute(text("SELECT id, version FROM deal"))}
            history = (await tx.execute(text("SELECT * FROM history ORDER BY deal_id, version"))).all()
            outbox = (await tx.execute(text("SELECT count(*) FROM outbox"))).scalar_one()
        async with self.kpi.transaction() as tx:
            ledger = Counter((row.deal_id, row.version) for row in await tx.execute(text("SELECT * FROM ledger")))
            cells = {tuple(row) for row in await tx.execute(text("SELECT * FROM cell"))}
            positions = {row.stream: row.version for row in await tx.execute(text("SELECT * FROM stream_position"))}
            parked = (await tx.execute(text("SELECT count(*) FROM parked_message"))).scalar_one()
        log = await self.log()
        totals: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        for row in history:
            totals[row.owner][0] += row.delta
            totals[row.owner][1] += 1
        versions = {deal: [row.version for row in history if row.deal_id == deal] for deal in deals}
        told = {(row.deal_id, row.version) for row in history}
        checks = {
            "I1": all(versions[deal] == [*range(1, version + 1)] for deal, version in deals.items()),
            "I2": outbox == 0,
            "I3": {message.headers["ce_id"] for message in log} == {str(event_id(f"deal:{d}", v)) for d, v in told},
            "I4": first_occurrences_ascend(log),
            "I5": positions == {f"deal:{deal}": version for deal, version in deals.items()} and parked == 0,
            "I6": cells == {(owner, total, changes) for owner, (total, changes) in totals.items()},
            "I7": ledger == dict.fromkeys(told, 1),
        }
        return {name for name, holds in checks.items() if not holds}


async def write_change(tx: AsyncConnection, number: int, amount: int, request: str | None = None) -> None:
    if request is not None:
        stored = await tx.execute(text("INSERT INTO request VALUES (:key) ON CONFLICT DO NOTHING"), {"key": request})
        if not stored.rowcount:
            return
    deal = deal_id(number)
    await tx.execute(text("INSERT INTO deal VALUES (:deal, 0, 0) ON CONFLICT DO NOTHING"), {"deal": deal})
    locked = text("SELECT version, amount FROM deal WHERE id = :deal FOR UPDATE")
    before = (await tx.execute(locked, {"deal": deal})).one()
    event = deal_changed(deal, before.version + 1, amount, before.amount)
    message = encode(event)
    await tx.execute(
        text("UPDATE deal SET version = version + 1, amount = :amount WHERE id = :deal"),
        {"deal": deal, "amount": amount},
    )
    await tx.execute(
        text("INSERT INTO history VALUES (:deal, :version, :owner, :amount, :delta, CAST(:headers AS jsonb), :value)"),
        {
            "deal": deal, "version": event.version, "owner": event.deal.owner, "amount": amount,
            "delta": amount - before.amount, "headers": msgspec.json.encode(message.headers).decode(),
            "value": message.value,
        },
    )  # fmt: skip
    await announce_messages(tx, [message])


def first_occurrences_ascend(log: Sequence[Message]) -> bool:
    last: dict[str, int] = {}
    seen: set[str] = set()
    for message in log:
        if message.headers["ce_id"] in seen:
            continue
        seen.add(message.headers["ce_id"])
        version = int(message.headers["ce_sequence"])
        if version <= last.get(message.key, 0):
            return False
        last[message.key] = version
    return True


@asynccontextmanager
async def toy_world(empty_database: Callable[[], str]) -> AsyncIterator[World]:
    pipeline, kpi = Database(empty_database(), "pipeline"), Database(empty_database(), "kpi")
    world = World(pipeline, kpi, PostgresBus(Database(empty_database(), "bus")))
    try:
        await world.bus.prepare()
        async with pipeline.transaction() as tx:
            await tx.run_sync(pipeline_metadata.create_all)
        async with kpi.transaction() as tx:
            await tx.run_sync(kpi_metadata.create_all)
        yield world
    finally:
        await world.close()


async def settle(relay: Relay, consumer: Consumer) -> None:
    """Relay and consume until nothing is left to do."""
    while await relay.step() + await consumer.step(0):
        pass


async def until(holds: Callable[[], bool | Awaitable[bool]], seconds: float = 15) -> None:
    """Wait until `holds()` is true; raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = holds()
        if answer if isinstance(answer, bool) else await answer:
            return
        await asyncio.sleep(0.02)
    raise TimeoutError
