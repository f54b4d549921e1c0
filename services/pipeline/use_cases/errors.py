"""Why a use case refuses. What each means over HTTP is said in api/problems.py."""

from collections.abc import Sequence
from typing import NamedTuple

from services.pipeline.domain.move import Refused
from shared.events.base import Names


class Refusal(Exception):  # noqa: N818 - the name of the fact
    """Base of all refusals: nothing was changed."""


class Fault(NamedTuple):
    """One field that cannot be accepted: a JSON pointer into the request, a stable code and a text."""

    pointer: str
    code: str
    message: Names


class Invalid(Refusal):
    """The request names things that cannot be, one fault each."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(", ".join(f"{fault.pointer}: {fault.code}" for fault in faults))
        self.faults: Sequence[Fault] = faults


class NotFound(Refusal):
    """There is no such thing, or it is not the caller's to see."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Stale(Refusal):
    """The thing is at another version than the caller knows."""

    def __init__(self, version: int) -> None:
        super().__init__(f"at version {version}")
        self.version = version


class OutOfScope(Refusal):
    """The caller may not give this to an owner whom they may not see."""


class ExternalIdTaken(Refusal):
    """Another deal or customer of this source has the external id."""


class MoveRefused(Refusal):
    """The process or a gate refuses a move."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.code)
        self.refused = refused
