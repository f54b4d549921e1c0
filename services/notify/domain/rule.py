"""An alert rule: a condition, how grave it is, and who shall hear of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from services.notify.domain.alert import Severity
from services.notify.domain.conditions import Condition, KpiCondition, scope_of
from shared.events.base import Names
from shared.events.notify import RuleChanged


class Addressee(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One person, by the id or by the caller's own id."""

    person_id: UUID | None = None
    external_id: str | None = None


Addressed = Literal["owner", "manager"] | Addressee


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as it stands. `since` is when its present condition was written: older facts are history to it.

    `bounded_by` is the owner key of the manager who wrote it: it then sees only what that manager sees.
    """

    id: UUID
    name: str | Names
    condition: Condition
    severity: Severity
    channels: tuple[UUID, ...]
    to: Addressed | None
    bounded_by: str | None
    created_by: str
    created_at: datetime
    since: datetime
    recorded_at: datetime
    version: int
    deleted: bool = False

    @property
    def scope(self) -> str:
        return scope_of(self.condition)

    @property
    def watch_key(self) -> str | None:
        return self.condition.watch.key if isinstance(self.condition, KpiCondition) else None

    def changed(self) -> RuleChanged:
        """Return the event of the rule as it stands, with everything it depends on."""
        watches = (self.condition.watch,) if isinstance(self.condition, KpiCondition) and not self.deleted else ()
        return RuleChanged(
            version=self.version,
            recorded_at=self.recorded_at,
            deleted=self.deleted,
            rule_id=self.id,
            watches=watches,
        )


def instance_of(rule_id: UUID, about: str) -> str:
    """Return the key of what a rule can have open only once: `about` is a value's stream or an event's identity."""
    return f"{rule_id}|{about}"
