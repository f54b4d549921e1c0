"""A deal, its tasks, and one change of it: what is written together or not at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal
from uuid import UUID

import msgspec

from shared.events.base import Names
from shared.events.pipeline import DealEvent, DealState, DealStatus, Stage

TaskStatus = Literal["open", "done", "cancelled"]
Scalar = str | int | float | bool | None


class Deal(msgspec.Struct, frozen=True, kw_only=True):
    """A deal as it stands at `version`; `name` and `fields` may hold personal text, the rest are ids and numbers.

    `owner` is an owner key, `amount` is in minor units of `currency`. `visit` counts the stage entries (1, 2, ...);
    `stage_entered_at` and `closed_at` are null where nobody knows when. `created_at` and `updated_at` tell when it was
    recorded here. `external_id` is unique for each `source`.
    """

    id: UUID
    version: int
    name: str
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
    external_id: str | None = None
    expected_close_on: date | None = None
    lost_reason: str | None = None
    fields: dict[str, Scalar] = {}
    visit: int = 1
    stage_entered_at: datetime | None = None
    sla_due_at: datetime | None = None
    sla_breached: bool = False
    closed_at: datetime | None = None
    created_at: datetime
    updated_at: datetime

    @property
    def state(self) -> DealState:
        """The deal as events tell it."""
        return DealState(
            process=self.process,
            process_version=self.process_version,
            stage=self.stage,
            status=self.status,
            owner=self.owner,
            customer_id=self.customer_id,
            amount=self.amount,
            currency=self.currency,
            product=self.product,
            source=self.source,
            expected_close_on=self.expected_close_on,
            lost_reason=self.lost_reason,
        )


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task of a deal, made when it entered `stage` for the `visit`-th entry (`code`, `name`), or by hand (`title`).

    `owner` is null while the task follows the deal's owner. `title` and `result` may hold personal text.
    """

    id: UUID
    deal_id: UUID
    stage: str
    visit: int
    code: str | None = None
    name: Names | None = None
    title: str | None = None
    mandatory: bool = False
    status: TaskStatus = "open"
    owner: str | None = None
    due_at: datetime | None = None
    done_at: datetime | None = None
    result: dict[str, Scalar] | None = None
    version: int = 1
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class DealChange:
    """A deal after its new events (1..n, consecutive versions, the last is `deal.version`).

    `tasks` are new tasks and present ones as they are now. `reasons` has the free text behind a version: it is kept
    beside the history, never in an event.
    """

    deal: Deal
    events: tuple[DealEvent, ...]
    tasks: tuple[Task, ...] = ()
    reasons: Mapping[int, str] | None = None
