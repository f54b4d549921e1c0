"""Why a request cannot be done, told field by field in both languages."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.language import Text


@dataclass(frozen=True, slots=True)
class Fault:
    """One wrong field: a JSON pointer into the request, a stable code, and what is wrong."""

    pointer: str
    code: str
    detail: Text


class Refusal(Exception):  # noqa: N818 - the name of the fact
    """A request that names things that cannot be; it has every fault of it."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(", ".join(f"{fault.pointer} {fault.code}" for fault in faults))
        self.faults = tuple(faults)


class StillInUse(Exception):  # noqa: N818 - the name of the fact
    """A channel that rules still send to."""

    def __init__(self, rule_ids: Sequence[str]) -> None:
        super().__init__(f"used by {len(rule_ids)} rules")
        self.rule_ids = tuple(rule_ids)
