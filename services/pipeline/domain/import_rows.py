"""One row of a file, or one body of a webhook, as what it tells about a deal, a customer or a stage."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import get_args
from zoneinfo import ZoneInfo

import msgspec

from services.pipeline.domain.course import Entry
from services.pipeline.domain.deal_fields import DealFields
from services.pipeline.domain.mapping import Cells, CustomerMapping, DealMapping, EntryValue, StageLogMapping, Value
from services.pipeline.domain.process import Process
from services.pipeline.domain.row import LONGEST_FIELD, CustomerName, OwnerName, Row
from services.pipeline.domain.told_course import ToldEntry, course_of_row
from shared.events.pipeline import Lifecycle

LIFECYCLES: Mapping[str, Lifecycle] = {name: name for name in get_args(Lifecycle)}


class DealRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a row tells about a deal.

    `told` has what needs no look-up; `owner` and `customer` are UNSET where the row says nothing of them, and null
    where it says that there is none. `course` is empty where the row tells no stage (a new deal then begins in the
    first one, `at`); a `partial` one is only what is news, to be merged into what is known.
    """

    source: str
    external_id: str
    process: str
    told: DealFields
    owner: OwnerName | msgspec.UnsetType | None = msgspec.UNSET
    customer: CustomerName | msgspec.UnsetType | None = msgspec.UNSET
    course: tuple[Entry, ...] = ()
    partial: bool = False
    at: datetime | None = None

    @property
    def undated(self) -> int:
        """How many stage entries nobody can date: one where the row tells none at all."""
        return sum(entry.at is None for entry in self.course) if self.course else 1


class CustomerRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a row tells about a customer; null where it says nothing."""

    source: str
    external_id: str
    name: str | None = None
    owner: OwnerName | None = None
    segment: str | None = None
    sector: str | None = None
    lifecycle: Lifecycle | None = None
    lifecycle_at: datetime | None = None
    contact: dict[str, str] = {}


class StageRow(msgspec.Struct, frozen=True, kw_only=True):
    """One stage entry of a deal."""

    source: str
    external_id: str
    process: str
    stage: str
    at: datetime | None
    owner: str | None = None


class RowReader:
    """Reads rows, given the processes (the one of rows that name none) and the zone in which days begin."""

    def __init__(self, processes: Mapping[str, Process], default_process: str, zone: ZoneInfo) -> None:
        self._processes = processes
        self._default_process = default_process
        self._zone = zone

    def deal(self, mapping: DealMapping, cells: Cells) -> DealRow:
        """Return what a row tells about a deal; raises Rejected with everything that is wrong with the row."""
        row = Row(cells, mapping.date_format, self._zone)
        process = self._process(row, mapping.process)
        read = DealRow(
            source=row.needed(mapping.source),
            external_id=row.needed(mapping.external_id),
            process=process.code if process else "",
            told=row.deal_fields(mapping),
            owner=row.owner(mapping.owner, mapping.owner_id),
            customer=row.customer(mapping.customer, mapping.customer_name),
            course=_course(row, mapping, process) if process else (),
        )
        row.finish()
        return read

    def customer(self, mapping: CustomerMapping, cells: Cells) -> CustomerRow:
        """Return what a row tells about a customer; raises Rejected."""
        row = Row(cells, mapping.date_format, self._zone)
        contact = {name: row.text(value, LONGEST_FIELD) for name, value in mapping.contact.items()}
        read = CustomerRow(
            source=row.needed(mapping.source),
            external_id=row.needed(mapping.external_id),
            name=row.text(mapping.name) or None,
            owner=row.owner(mapping.owner, None) or None,
            segment=row.text(mapping.segment) or None,
            sector=row.text(mapping.sector) or None,
            lifecycle=_lifecycle(row, mapping.lifecycle),
            lifecycle_at=row.moment(mapping.lifecycle_at),
            contact={name: text for name, text in contact.items() if text},
        )
        row.finish()
        return read

    def stage(self, mapping: StageLogMapping, cells: Cells) -> StageRow:
        """Return what a row of a stage log tells; raises Rejected."""
        row = Row(cells, mapping.date_format, self._zone)
        process = self._process(row, mapping.process)
        stage = row.needed(mapping.stage)
        if process and stage and stage not in process.places:
            row.refuse("unknown_stage", mapping.stage, stage)
        read = StageRow(
            source=row.needed(mapping.source),
            external_id=row.needed(mapping.external_id),
            process=process.code if process else "",
            stage=stage,
            at=row.moment(mapping.at),
            owner=row.text(mapping.owner) or None,
        )
        row.finish()
        return read

    def _process(self, row: Row, value: Value | None) -> Process | None:
        code = row.text(value) or self._default_process
        process = self._processes.get(code)
        if process is None:
            row.refuse("unknown_process", value, code)
        return process


def _course(row: Row, mapping: DealMapping, process: Process) -> tuple[Entry, ...]:
    told = [entry for value in mapping.stages for entry in _entry(row, value, process)]
    current = row.text(mapping.current_stage) or None
    if current is not None and current not in process.places:
        row.refuse("unknown_stage", mapping.current_stage, current)
    return () if row.problems else course_of_row(told, current, process.places)


def _entry(row: Row, value: EntryValue, process: Process) -> Iterator[ToldEntry]:
    stage = value.stage.read_listed(row.cells)
    if not stage:
        return
    if stage in process.places:
        # A stage that is read from a column is told by the row itself, with a date or without.
        yield ToldEntry(stage, row.moment(value.at), certain=value.stage.column is not None)
    else:
        row.refuse("unknown_stage", value.stage, stage)


def _lifecycle(row: Row, value: Value | None) -> Lifecycle | None:
    text = row.text(value)
    if not text:
        return None
    if text not in LIFECYCLES:
        row.refuse("unknown_lifecycle", value, text)
    return LIFECYCLES.get(text)
