"""What pipeline announces: deal stream, customer stream and processes."""

from datetime import date, datetime
from typing import ClassVar, Literal
from uuid import UUID

import msgspec

from shared.events.base import Event, Names, StateEvent, StreamEvent

DEALS = "pipeline.deals.v1"
CUSTOMERS = "pipeline.customers.v1"
PROCESSES = "pipeline.processes.v1"

StageKind = Literal["open", "won", "lost"]
DealStatus = Literal["open", "won", "lost", "deleted"]
Lifecycle = Literal["lead", "qualified", "customer", "disqualified"]


class Stage(msgspec.Struct, frozen=True):
    """A stage as it stood at the event: its code, kind and place in the process (0, 1, ...)."""

    code: str
    kind: StageKind
    order: int


class DealState(msgspec.Struct, frozen=True, kw_only=True):
    """A deal as numbers and ids: what a fold may know.

    `owner` is an owner key: a person's id as text, or `external:<id>` while the person is not known yet.
    `amount` is in minor units of `currency`; both are null together.
    """

    process: str
    process_version: int
    stage: Stage
    status: DealStatus
    owner: str | None = None
    customer_id: UUID | None = None
    amount: int | None = None
    currency: str | None = None
    product: str | None = None
    source: str | None = None
    expected_close_on: date | None = None
    lost_reason: str | None = None


class StageEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry into a stage; `at` is null where nobody knows when; `passed` as in DealMoved."""

    stage: Stage
    at: datetime | None
    passed: tuple[Stage, ...] = ()


class DealEvent(StreamEvent, frozen=True, kw_only=True):
    """Base of the deal stream: the deal after the event, and before it (null at its creation)."""

    topic: ClassVar[str] = DEALS
    source: ClassVar[str] = "/pipeline"

    deal_id: UUID
    deal: DealState
    before: DealState | None = None
    actor: str | None = None

    @property
    def stream(self) -> str:
        return f"deal:{self.deal_id}"


class DealCreated(DealEvent, frozen=True, kw_only=True):
    """A deal begins in `deal.stage`."""

    type: ClassVar[str] = "pipeline.deal.created.v1"


class DealMoved(DealEvent, frozen=True, kw_only=True):
    """A deal changed its stage. `broke` names the criteria that a recorded fact or an override did not meet.

    `passed` are the open stages that a forward move (to an open or a won stage) skipped, in the order of the process.
    """

    type: ClassVar[str] = "pipeline.deal.moved.v1"

    move_id: UUID
    broke: tuple[str, ...] = ()
    overridden: bool = False
    passed: tuple[Stage, ...] = ()


class DealChanged(DealEvent, frozen=True, kw_only=True):
    """Fields other than the stage changed; `changed` names them."""

    type: ClassVar[str] = "pipeline.deal.changed.v1"

    changed: tuple[str, ...] = ()


class DealCourseCorrected(DealEvent, frozen=True, kw_only=True):
    """The dated stage entries told so far were wrong: `course` replaces all of them, in order."""

    type: ClassVar[str] = "pipeline.deal.course_corrected.v1"

    course: tuple[StageEntry, ...]


class DealTaskAdded(DealEvent, frozen=True, kw_only=True):
    """A task was added to a deal (those of a stage come with the move itself)."""

    type: ClassVar[str] = "pipeline.deal.task_added.v1"

    task_id: UUID
    task_code: str | None = None
    due_at: datetime | None = None


class DealTaskChanged(DealEvent, frozen=True, kw_only=True):
    """A task of a deal was done, reopened or changed."""

    type: ClassVar[str] = "pipeline.deal.task_changed.v1"

    task_id: UUID
    task_code: str | None = None
    status: Literal["open", "done", "cancelled"] = "open"
    due_at: datetime | None = None
    outcome: str | None = None


class DealSlaBreached(DealEvent, frozen=True, kw_only=True):
    """A deal stayed in its stage beyond the standard; `occurred_at` is the moment it was due."""

    type: ClassVar[str] = "pipeline.deal.sla_breached.v1"

    visit: int
    level: int = 1


class DealDeleted(DealEvent, frozen=True, kw_only=True):
    """A deal was a mistake: all its facts are taken back; `deal.status` is `deleted`."""

    type: ClassVar[str] = "pipeline.deal.deleted.v1"


class CustomerEvent(StreamEvent, frozen=True, kw_only=True):
    """Base of the customer stream: ids and classes only, never a name."""

    topic: ClassVar[str] = CUSTOMERS
    source: ClassVar[str] = "/pipeline"

    customer_id: UUID
    lifecycle: Lifecycle
    owner: str | None = None
    segment: str | None = None
    source_of_customer: str | None = None

    @property
    def stream(self) -> str:
        return f"customer:{self.customer_id}"


class CustomerCreated(CustomerEvent, frozen=True, kw_only=True):
    """A customer is known from now on."""

    type: ClassVar[str] = "pipeline.customer.created.v1"


class CustomerChanged(CustomerEvent, frozen=True, kw_only=True):
    """A customer's lifecycle or classes changed; `lifecycle_before` tells from what."""

    type: ClassVar[str] = "pipeline.customer.changed.v1"

    lifecycle_before: Lifecycle


class CustomerErased(CustomerEvent, frozen=True, kw_only=True):
    """A customer was deleted and its personal text erased."""

    type: ClassVar[str] = "pipeline.customer.erased.v1"


class StageKpi(msgspec.Struct, frozen=True):
    """A KPI by which a stage is steered and its target as a decimal text."""

    kpi: str
    target: str | None = None


class ProcessStage(msgspec.Struct, frozen=True, kw_only=True):
    """A stage of a process as readers of events need it."""

    code: str
    name: Names
    kind: StageKind
    order: int
    win_probability: str | None = None
    sla: str | None = None
    kpis: tuple[StageKpi, ...] = ()


class ProcessChanged(StateEvent, frozen=True, kw_only=True):
    """A sales process in its newest version."""

    type: ClassVar[str] = "pipeline.process.changed.v1"
    topic: ClassVar[str] = PROCESSES
    source: ClassVar[str] = "/pipeline"

    code: str
    process_version: int
    name: Names
    stages: tuple[ProcessStage, ...]

    @property
    def stream(self) -> str:
        return f"process:{self.code}"


EVENTS: tuple[type[Event], ...] = (
    DealCreated,
    DealMoved,
    DealChanged,
    DealCourseCorrected,
    DealTaskAdded,
    DealTaskChanged,
    DealSlaBreached,
    DealDeleted,
    CustomerCreated,
    CustomerChanged,
    CustomerErased,
    ProcessChanged,
)
