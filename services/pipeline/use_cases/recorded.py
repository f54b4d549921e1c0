"""What recording a row needs to know beside the row, and what becomes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple
from uuid import UUID

from services.pipeline.domain.import_problems import Problem
from services.pipeline.store.customer_names import RowKey
from shared.tracing import Cause

Result = Literal["created", "updated", "unchanged"]


@dataclass(frozen=True, slots=True)
class Recorder:
    """Who records; a dry run writes nothing. `causes` tells why each row is recorded, by default the current cause."""

    actor: str | None
    dry_run: bool = False
    causes: Mapping[RowKey, Cause] = field(default_factory=dict)


class Outcome(NamedTuple):
    """What became of a row, and of which deal (null where there is none)."""

    result: Result | Problem
    deal_id: UUID | None = None
