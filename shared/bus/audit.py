"""The auditor: what was told and applied, held against the owner's history, stream by stream.

It exists for what no guard can see: an owner restored from an older backup gives versions again that were given before,
with other content. To its readers they look like duplicates. The log still has what was told the first time.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from shared.bus.protocol import Bus, TopicPartition
from shared.bus.streams import StreamPositions
from shared.bus.subscription import OwnerExport, Subscription
from shared.db.engine import Database
from shared.events.codec import Message, UnreadableMessage, read_envelope

LARGEST_BATCH = 500
STREAMS_AT_ONCE = 500
POLL_SECONDS = 1.0
LOOK_AGAIN_SECONDS = 0.5

Told = dict[str, dict[int, int]]
"""By stream and version, a digest of what was told."""


@dataclass(frozen=True, slots=True)
class Reader:
    """A group that applies the events of a topic, and the database in which it keeps how far it is."""

    database: Database
    subscription: Subscription

    async def positions(self, streams: Sequence[str]) -> dict[str, int]:
        """Return the applied version of each of `streams`."""
        guard = self.subscription.guard or StreamPositions(self.subscription.group)
        found: dict[str, int] = {}
        for start in range(0, len(streams), STREAMS_AT_ONCE):
            async with self.database.transaction() as tx:
                found |= await guard.lock(tx, sorted(streams[start : start + STREAMS_AT_ONCE]))
        return found


@dataclass(slots=True)
class Audit:
    """How much was compared, and a line for everything that is not as the owner's history says."""

    streams: int = 0
    records: int = 0
    findings: list[str] = field(default_factory=list)


async def audit_topic(bus: Bus, export: OwnerExport, topic: str, readers: Collection[Reader], patience: float) -> Audit:
    """Compare a topic of dense streams with its owner's history; beside live traffic.

    Who is behind the history has `patience` seconds to come to where the history was when it was read. Raises
    ExportUnavailable.
    """
    auditing = _Auditing(export, topic)
    told = await read_log(bus, topic)
    auditing.audit.records = sum(map(len, told.values()))
    late: dict[str, int] = {}
    async for history in _pages(export, topic):
        auditing.audit.streams += len(history)
        await auditing.compare("the log", told, history)
        for reader in readers:
            behind = await auditing.compare_positions(reader, history)
            late |= {stream: max(late.get(stream, 0), version) for stream, version in behind.items()}
        for stream in history:
            told.pop(stream, None)
    await auditing.compare("the log", told, {stream: {} for stream in told})
    for reader in readers:
        await auditing.wait_for(reader, late, patience)
    return auditing.audit


async def read_log(bus: Bus, topic: str) -> Told:
    """Return what the log still has of a topic: of what came twice, the first occurrence."""
    parts = [TopicPartition(topic, part) for part in range(bus.partitions(topic))]
    ends = await bus.end_offsets(parts)
    positions = dict(await bus.low_offsets(parts))
    reader = bus.reader([topic])
    await reader.assign(positions)
    told: Told = {}
    try:
        while any(positions[at] < end for at, end in ends.items()):
            for record in await reader.poll(LARGEST_BATCH, POLL_SECONDS):
                positions[record.at] = record.offset + 1
                _note(told, record.message)
            await asyncio.sleep(0)
    finally:
        await reader.close()
    return told


class _Auditing:
    """One topic being audited."""

    def __init__(self, export: OwnerExport, topic: str) -> None:
        self.audit = Audit()
        self._export = export
        self._topic = topic

    async def compare(self, where: str, told: Told, history: Told) -> None:
        """Note every event that is told otherwise, or of which the history knows nothing."""
        for stream, versions in history.items():
            known = versions
            newest = max(known, default=0)
            if max(told.get(stream, {0: 0})) > newest:
                # It may have happened after the page was read.
                known = known | (await self._after(stream, newest))
            self.audit.findings.extend(_differences(where, stream, told.get(stream, {}), known))

    async def compare_positions(self, reader: Reader, history: Told) -> dict[str, int]:
        """Note what is applied and not there; return the streams of which less is applied, with their versions."""
        positions = await reader.positions([*history])
        behind: dict[str, int] = {}
        for stream, versions in history.items():
            newest = max(versions, default=0)
            if positions[stream] < newest:
                behind[stream] = newest
            elif positions[stream] > newest:
                now = max({newest: 0, **await self._after(stream, newest)})
                if positions[stream] > now:
                    self._note(reader, stream, f"has applied version {positions[stream]}, the history ends at {now}")
        return behind

    async def wait_for(self, reader: Reader, late: Mapping[str, int], patience: float) -> None:
        """Note every stream that does not come to its version in time."""
        deadline = time.monotonic() + patience
        while True:
            positions = await reader.positions([*late])
            behind = {stream: version for stream, version in late.items() if positions[stream] < version}
            if not behind or time.monotonic() >= deadline:
                break
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        for stream, version in behind.items():
            self._note(reader, stream, f"has applied version {positions[stream]}, the history has {version}")

    async def _after(self, stream: str, version: int) -> dict[int, int]:
        found: Told = {}
        for message in await self._export.after(self._topic, stream, version):
            _note(found, message)
        return found.get(stream, {})

    def _note(self, reader: Reader, stream: str, text: str) -> None:
        self.audit.findings.append(f"{reader.subscription.group}: {stream}: {text}")


def _differences(where: str, stream: str, told: Mapping[int, int], known: Mapping[int, int]) -> Iterator[str]:
    for version, digest in sorted(told.items()):
        if version not in known:
            yield f"{where}: {stream}@{version}: was told, the history does not have it"
        elif known[version] != digest:
            yield f"{where}: {stream}@{version}: was told otherwise than the history has it"


async def _pages(export: OwnerExport, topic: str) -> AsyncIterator[Told]:
    async for page in export.pages(topic):
        history: Told = {}
        for message in page:
            _note(history, message)
        yield history


def _note(told: Told, message: Message) -> None:
    """Keep a digest of what `message` says, whatever its spaces and the order of its fields."""
    try:
        envelope = read_envelope(message)
        said = msgspec.json.encode(msgspec.json.decode(message.value), order="sorted")
    except (UnreadableMessage, msgspec.DecodeError):
        # What nobody can read is a matter of the dead letters.
        return
    digest = hashlib.blake2b(envelope.type.encode() + said, digest_size=8).digest()
    told.setdefault(envelope.stream, {}).setdefault(envelope.version, int.from_bytes(digest))
