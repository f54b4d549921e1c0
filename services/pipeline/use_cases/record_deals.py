"""Recording deals as rows tell them: imports and webhooks state facts, in batches, each deal at most once."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.course import Entry, Recorded, record_course
from services.pipeline.domain.deal import Deal, DealChange, Task
from services.pipeline.domain.deal_fields import DealFields
from services.pipeline.domain.import_problems import Problem
from services.pipeline.domain.import_rows import DealRow
from services.pipeline.domain.process import Process
from services.pipeline.domain.row import CustomerName, OwnerName
from services.pipeline.domain.told_course import merge_entries
from services.pipeline.store.changes import write_changes
from services.pipeline.store.customer_names import RowKey
from services.pipeline.store.deals import courses_of, ids_by_external_id, lock_deals
from services.pipeline.store.new_deals import NewDeals
from services.pipeline.store.owners import Owner, describe_owners
from services.pipeline.store.processes import ProcessKey
from services.pipeline.store.tasks import tasks_of_present_visits
from services.pipeline.store.told_courses import save_told_entries, told_entries
from services.pipeline.use_cases.context import Context
from services.pipeline.use_cases.owner_names import canonical_key, key_of_name, same_person
from services.pipeline.use_cases.record_customers import find_or_create_customers
from services.pipeline.use_cases.recorded import Outcome, Recorder
from shared.events.pipeline import StageEntry
from shared.foreground import foreground
from shared.tracing import Cause, current_cause

# About 5 ms of decisions and encoding: then the loop is given back to whoever waits.
SLICE_ROWS = 40
# From so many new deals on, four COPYs are cheaper than one statement.
COPIED_ROWS = 100


@dataclass(frozen=True, slots=True)
class _Known:
    """What the decisions of a batch need, read under the locks of its deals."""

    deals: Mapping[RowKey, Deal]
    courses: Mapping[UUID, tuple[StageEntry, ...]]
    tasks: Mapping[UUID, Sequence[Task]]
    newest: Mapping[str, Process]
    versions: Mapping[ProcessKey, Process]
    owners: Mapping[str, Owner]
    customers: Mapping[RowKey, UUID]
    told: Mapping[RowKey, int]


def key_of(row: DealRow) -> RowKey:
    """Return what names the deal of a row: its source and its external id there."""
    return row.source, row.external_id


async def record_deals(
    tx: AsyncConnection, context: Context, rows: Sequence[DealRow], recorder: Recorder
) -> Sequence[Outcome]:
    """Record rows of different deals within `tx`: new ones are created, present ones get what is new; one outcome each.

    Facts are never refused by a gate: their moves name the criteria they broke. Raises IntegrityError, or the
    driver's UniqueViolationError, when somebody else creates one of the deals at the same moment.
    """
    known = await _load(tx, context, rows, recorder)
    whole = {key_of(row): len(row.course) for row in rows if row.course and not row.partial}
    if not recorder.dry_run:
        news = {key: entries for key, entries in whole.items() if known.told.get(key) != entries}
        await save_told_entries(tx, news)
    outcomes: list[Outcome] = []
    async with _Writing(tx, recorder, copies=len(rows) - len(known.deals) >= COPIED_ROWS) as writing:
        for start in range(0, len(rows), SLICE_ROWS):
            part = rows[start : start + SLICE_ROWS]
            decided = [_decide(context, known, row, recorder.actor) for row in part]
            outcomes += [_outcome(known, row, change) for row, change in zip(part, decided, strict=True)]
            await writing.write(
                {
                    key_of(row): change
                    for row, change in zip(part, decided, strict=True)
                    if isinstance(change, DealChange)
                }
            )
    return outcomes


class _Writing:
    """Writes slice by slice: while the database writes one, the next is decided. A dry run writes nothing.

    With `copies`, new deals are kept back and written together at the end.
    """

    def __init__(self, tx: AsyncConnection, recorder: Recorder, *, copies: bool) -> None:
        self._tx = tx
        self._recorder = recorder
        self._copies = copies
        self._new = NewDeals()
        self._slice: asyncio.Task[None] | None = None

    async def write(self, changes: Mapping[RowKey, DealChange]) -> None:
        """Begin to write, as soon as the slice before is written."""
        await self._finish()
        if not self._recorder.dry_run:
            told = [(change, self._recorder.causes.get(key) or current_cause()) for key, change in changes.items()]
            rest = [each for each in told if not self._keeps_back(*each)]
            if rest:
                changed, causes = zip(*rest, strict=True)
                self._slice = asyncio.create_task(write_changes(self._tx, changed, causes))
        await foreground.give_way()

    def _keeps_back(self, change: DealChange, cause: Cause) -> bool:
        is_new = change.events[0].version == 1
        if self._copies and is_new:
            self._new.add(change, cause)
            return True
        return False

    async def _finish(self) -> None:
        writing, self._slice = self._slice, None
        if writing:
            await writing

    async def __aenter__(self) -> "_Writing":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self._finish()
            await self._new.write(self._tx)
        elif self._slice:
            # The connection must be free before the transaction is rolled back.
            self._slice.cancel()
            await asyncio.wait([self._slice])


async def _load(tx: AsyncConnection, context: Context, rows: Sequence[DealRow], recorder: Recorder) -> _Known:
    ids = await _present_ids(tx, {key_of(row) for row in rows})
    locked = await lock_deals(tx, ids.values())
    deals = {key: locked[deal_id] for key, deal_id in ids.items() if deal_id in locked}
    found = {code: await context.processes.newest(tx, code) for code in {row.process for row in rows}}
    customers = {
        (row.source, row.customer.external_id): row.customer for row in rows if isinstance(row.customer, CustomerName)
    }
    return _Known(
        deals=deals,
        courses=await courses_of(tx, locked) if locked else {},
        tasks=await tasks_of_present_visits(tx, locked) if locked else {},
        newest={code: process for code, process in found.items() if process},
        versions=await context.processes.load(tx, {(deal.process, deal.process_version) for deal in locked.values()}),
        owners=await describe_owners(tx, {*map(_named, rows), *(deal.owner for deal in locked.values())}),
        told=await told_entries(tx, dict.fromkeys(deals, 0)) if deals else {},
        customers=await find_or_create_customers(tx, context, customers, recorder),
    )


async def _present_ids(tx: AsyncConnection, keys: Collection[RowKey]) -> dict[RowKey, UUID]:
    ids: dict[RowKey, UUID] = {}
    for source in sorted({source for source, _ in keys}):
        wanted = [external_id for other, external_id in keys if other == source]
        found = await ids_by_external_id(tx, source, wanted)
        ids |= {(source, external_id): deal_id for external_id, deal_id in found.items()}
    return ids


def _named(row: DealRow) -> str | None:
    return key_of_name(row.owner) if isinstance(row.owner, OwnerName) else None


def _decide(context: Context, known: _Known, row: DealRow, actor: str | None) -> DealChange | Problem | None:
    deal = known.deals.get(key_of(row))
    if deal is None:
        return _create(context, known, row, actor)
    if row.process != deal.process:
        return Problem("other_process", None, deal.process)
    process = known.versions[deal.process, deal.process_version]
    strange = next((entry.stage for entry in row.course if entry.stage not in process.places), None)
    if strange is not None:
        return Problem("unknown_stage", None, strange)
    recorded = Recorded(deal, known.courses.get(deal.id, ()), known.tasks.get(deal.id, ()))
    course = merge_entries(recorded.course, row.course, process.places) if row.partial else row.course
    return record_course(
        process,
        recorded,
        course,
        _told(known, row, deal),
        context.recording(actor, deal.updated_at),
        retracts=not row.partial and 0 < len(row.course) < known.told.get(key_of(row), 0),
    )


def _create(context: Context, known: _Known, row: DealRow, actor: str | None) -> DealChange | None:
    process = known.newest[row.process]
    told = _told(known, row, None)
    told = DealFields(**{"name": row.external_id, **told, "source": row.source, "external_id": row.external_id})
    course = row.course or (Entry(process.first.code, row.at),)
    return record_course(process, None, course, told, context.recording(actor))


def _told(known: _Known, row: DealRow, deal: Deal | None) -> DealFields:
    told = row.told.copy()
    if row.owner is not msgspec.UNSET:
        key = _named(row)
        if not same_person(known.owners, key, deal.owner if deal else None):
            told["owner"] = canonical_key(known.owners, key)
    if row.customer is not msgspec.UNSET:
        told["customer_id"] = known.customers[row.source, row.customer.external_id] if row.customer else None
    return told


def _outcome(known: _Known, row: DealRow, decided: DealChange | Problem | None) -> Outcome:
    if isinstance(decided, Problem):
        return Outcome(decided)
    deal = known.deals.get(key_of(row))
    if decided is None:
        return Outcome("unchanged", deal.id if deal else None)
    return Outcome("updated" if deal else "created", decided.deal.id)
