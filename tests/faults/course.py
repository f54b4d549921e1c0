"""What the stateful test does to the toy world: writers, two relays, two members, each of which may freeze or die."""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, NoReturn

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.bus.consumer import Consumer
from shared.bus.dead_letters import list_dead_letters, replay
from shared.bus.offsets import Fenced
from shared.bus.protocol import Bus, Record, TopicPartition
from shared.bus.relay import Relay
from shared.bus.subscription import Delivery
from shared.db.engine import Database
from shared.db.faultpoints import Crashed, armed, crash
from shared.events.codec import Message
from shared.events.pipeline import DEALS
from shared.ids import event_id
from tests.faults.toy import GROUP, World, deal_id, first_occurrences_ascend, fold, write_change

POISON = 13
MEMBERS = (0, 1)
ROUNDS = 80
EMPTY_PIPELINE = text("TRUNCATE deal, request, history, outbox")
EMPTY_KPI = text(
    "TRUNCATE cell, ledger, outbox, consumer_offset, stream_position, parked_message, dead_letter RESTART IDENTITY"
)

END_SESSIONS = text(
    """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE application_name = 'kpi-dedicated' AND datname = current_database()
    """
)


def reset_connection() -> NoReturn:
    raise ConnectionResetError


class Gate:
    """A place where one task freezes until it is thawed."""

    def __init__(self) -> None:
        self._reached, self._open = asyncio.Event(), asyncio.Event()

    async def freeze(self) -> None:
        self._reached.set()
        await self._open.wait()

    def thaw(self) -> None:
        self._open.set()

    async def started(self, step: Coroutine[Any, Any, int]) -> asyncio.Task[int]:
        """Start `step` and return once it is frozen here, or done."""
        task, reached = asyncio.create_task(step), asyncio.create_task(self._reached.wait())
        await asyncio.wait({task, reached}, return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        return task


class FreezingRelay(Relay):
    """Freezes where `before` says, with the rows that it has read."""

    def __init__(self, database: Database, bus: Bus, service: str) -> None:
        super().__init__(database, bus, service)
        self.gate = Gate()
        self.before = ""

    async def _send(self, rows: Sequence[Row[int, str, str, str, bytes]]) -> None:
        if self.before == "send":
            await self.gate.freeze()
        await super()._send(rows)

    async def _delete(self, rows: Sequence[Row[int, str, str, str, bytes]]) -> None:
        if self.before == "delete":
            await self.gate.freeze()
        await super()._delete(rows)


class FreezingConsumer(Consumer):
    """Freezes between fetch and apply when it has a gate."""

    gate: Gate | None = None

    async def _consume(self, records: Sequence[Record]) -> None:
        if self.gate is not None:
            await self.gate.freeze()
        await super()._consume(records)


class Course:
    """One course of events over an empty world, with the model of what was acknowledged."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.told: defaultdict[int, list[int]] = defaultdict(list)
        self.late: dict[int, tuple[AsyncExitStack, AsyncConnection, int]] = {}
        self.log: list[Message] = []
        self.frozen_relays: list[tuple[FreezingRelay, asyncio.Task[int]]] = []
        self.frozen_members: dict[int, asyncio.Task[int]] = {}
        self._mended = False
        self._requests = 0
        self._relay = world.relay()
        self._members = {number: self._member() for number in MEMBERS}
        self._reader = world.bus.reader([DEALS])

    @classmethod
    async def begin(cls, world: World, bus: Bus) -> "Course":
        await world.bus.close()
        world.bus = bus
        async with world.pipeline.transaction() as tx:
            await tx.execute(EMPTY_PIPELINE)
        async with world.kpi.transaction() as tx:
            await tx.execute(EMPTY_KPI)
        course = cls(world)
        parts = [TopicPartition(DEALS, part) for part in range(bus.partitions(DEALS))]
        await course._reader.assign(await bus.low_offsets(parts))
        return course

    def _member(self) -> FreezingConsumer:
        member = self.world.consumer(FreezingConsumer, self.world.subscription(self._fold))
        assert isinstance(member, FreezingConsumer)
        return member

    async def _fold(self, tx: AsyncConnection, deliveries: Sequence[Delivery]) -> None:
        await fold(tx, deliveries)
        if not self._mended and any(delivery.event.deal.amount == POISON for delivery in deliveries):
            message = "not digestible before it is mended"
            raise ValueError(message)

    async def change(self, deal: int, amount: int) -> None:
        await self.world.change(deal, amount)
        self.told[deal].append(amount)

    async def change_many(self, changes: Sequence[tuple[int, int]], *, give_up: bool) -> None:
        """Several changes in one transaction, in the order of their deals; or none of them."""
        ordered = sorted(changes)
        try:
            async with self.world.pipeline.transaction() as tx:
                for deal, amount in ordered:
                    await write_change(tx, deal, amount)
                if give_up:
                    raise InterruptedError
        except InterruptedError:
            return
        for deal, amount in ordered:
            self.told[deal].append(amount)

    async def change_unsure(self, deal: int, amount: int, place: str, *, again: bool) -> None:
        """The connection breaks around the commit; the client may come again with the same key, or never."""
        self._requests += 1
        key = f"request {self._requests}"
        with suppress(ConnectionResetError), armed(f"pipeline.{place}", 1, reset_connection):
            await self.world.change(deal, amount, key)
        if again:
            await self.world.change(deal, amount, key)
        if again or place == "committed":
            self.told[deal].append(amount)

    async def begin_late(self, amount: int) -> None:
        """A transaction that draws its outbox id now and commits who knows when (trap T1)."""
        deal = 1000 + self._requests
        self._requests += 1
        stack = AsyncExitStack()
        tx = await stack.enter_async_context(self.world.pipeline.transaction())
        await write_change(tx, deal, amount)
        self.late[deal] = (stack, tx, amount)

    async def end_late(self, *, commit: bool) -> None:
        deal = next(iter(self.late))
        stack, tx, amount = self.late.pop(deal)
        if not commit:
            await tx.rollback()
        await stack.aclose()
        if commit:
            self.told[deal].append(amount)

    async def relay(self) -> None:
        await self._relay.step()

    async def relay_disturbed(self, place: str, *, dies: bool) -> None:
        """Die there, or lose the connection there and go on."""
        try:
            with armed(place, 1, crash if dies else reset_connection):
                await self._relay.step()
        except (Crashed, OSError):
            await self._relay.close()
            self._relay = self.world.relay()

    async def freeze_relay(self, before: str) -> None:
        """A relay with rows in its hands freezes; from now on another one works (F3, F4)."""
        relay = self.world.relay(FreezingRelay)
        assert isinstance(relay, FreezingRelay)
        relay.before = before
        self.frozen_relays.append((relay, await relay.gate.started(relay.step())))

    async def thaw_relay(self) -> None:
        relay, task = self.frozen_relays.pop(0)
        relay.gate.thaw()
        await task

    async def send_again(self, which: Sequence[int]) -> None:
        """What was sent before comes again, in any order."""
        if self.log:
            await self.world.bus.append([self.log[number % len(self.log)] for number in which])

    async def consume(self, number: int) -> None:
        if number not in self.frozen_members:
            await self._step(number)

    async def consume_disturbed(self, number: int, place: str, *, dies: bool) -> None:
        if number not in self.frozen_members:
            with armed(place, 1, crash if dies else reset_connection):
                await self._step(number)

    async def _step(self, number: int) -> int:
        try:
            return await self._members[number].step(0)
        except Crashed:
            await self.replace(number)
        except (OSError, Fenced):
            pass
        return 1

    async def freeze_member(self, number: int) -> None:
        """It freezes with a fetched batch; its session ends, so that the other member takes its partitions over."""
        if number in self.frozen_members:
            return
        member = self._members[number]
        member.gate = Gate()
        self.frozen_members[number] = await member.gate.started(self._step(number))
        await self.lose_sessions()

    async def thaw_member(self, number: int) -> None:
        if task := self.frozen_members.pop(number, None):
            member = self._members[number]
            if member.gate is not None:
                member.gate.thaw()
            await task
            self._members[number].gate = None

    async def replace(self, number: int) -> None:
        """The process of a member ends; a new one joins."""
        if number not in self.frozen_members:
            await self._members[number].close()
            self._members[number] = self._member()

    async def lose_sessions(self) -> None:
        """The sessions that hold the partitions are gone; who held them does not know it yet."""
        async with self.world.kpi.transaction() as tx:
            await tx.execute(END_SESSIONS)

    async def broken_now(self) -> set[str]:
        """Return what must hold at any moment and does not (I1, I3, I4, I6, I7, I11)."""
        while records := await self._reader.poll(500, 0):
            self.log.extend(record.message for record in records)
        async with self.world.pipeline.transaction() as tx:
            history = (await tx.execute(text("SELECT * FROM history ORDER BY deal_id, version"))).all()
        async with self.world.kpi.transaction() as tx:
            ledger = (await tx.execute(text("SELECT deal_id, version FROM ledger ORDER BY deal_id, version"))).all()
            cells = {tuple(row) for row in await tx.execute(text("SELECT * FROM cell"))}
            rows = await tx.execute(text("SELECT stream, version FROM stream_position"))
            positions = {row.stream: row.version for row in rows}
            letters = await list_dead_letters(tx, GROUP, 500)
        amounts: defaultdict[Any, list[int]] = defaultdict(list)
        events = {(row.deal_id, row.version): row for row in history}
        for (deal, _), row in events.items():
            amounts[deal].append(row.amount)
        applied = [events.get((row.deal_id, row.version)) for row in ledger]
        totals: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        for row in filter(None, applied):
            totals[row.owner][0] += row.delta
            totals[row.owner][1] += 1
        versions: defaultdict[str, list[int]] = defaultdict(list)
        for row in ledger:
            versions[f"deal:{row.deal_id}"].append(row.version)
        poisoned = {(f"deal:{deal}", version) for (deal, version), row in events.items() if row.amount == POISON}
        checks = {
            "I1": amounts == {deal_id(number): told for number, told in self.told.items() if told},
            "I3": {m.headers["ce_id"] for m in self.log} <= {str(event_id(f"deal:{d}", v)) for d, v in events},
            "I4": first_occurrences_ascend(self.log),
            "I6": cells == {(owner, *counts) for owner, counts in totals.items()},
            "I7": None not in applied
            and all(found == [*range(1, positions.get(stream, 0) + 1)] for stream, found in versions.items()),
            "I11": {(letter.stream, letter.version) for letter in letters} <= poisoned,
        }
        return {name for name, holds in checks.items() if not holds}

    async def rest(self) -> None:
        """Let everybody come back and everything be mended; within bounded rounds all invariants hold again."""
        while self.late:
            await self.end_late(commit=True)
        while self.frozen_relays:
            await self.thaw_relay()
        for number in MEMBERS:
            await self.thaw_member(number)
        self._mended = True
        broken: set[str] = set()
        for _ in range(ROUNDS):
            work = await self._relay.step() + sum([await self._step(number) for number in MEMBERS])
            if not work and not await self._replay():
                broken = await self.world.broken() | await self.broken_now()
                if not broken:
                    break
        assert broken == set()
        self._mended = False

    async def _replay(self) -> int:
        """Replay what was set aside, in the order of the versions; returns how many there were."""
        async with self.world.kpi.transaction() as tx:
            waiting = [one for one in await list_dead_letters(tx, GROUP, 500) if one.replayed_at is None]
        for letter in sorted(waiting, key=lambda letter: letter.version or 0):
            await replay(self.world.kpi, [self.world.subscription(self._fold)], letter.id)
        return len(waiting)

    async def close(self) -> None:
        """End everything, whatever state it is in."""
        tasks = [*(task for _, task in self.frozen_relays), *self.frozen_members.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for stack, tx, _ in self.late.values():
            await tx.rollback()
            await stack.aclose()
        await self._relay.close()
        for member in self._members.values():
            await member.close()
        await self._reader.close()
        await self.world.bus.close()
