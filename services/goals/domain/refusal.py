"""Why a command cannot be done, in words of the domain; the API maps each to its problem."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from shared.language import Text


@dataclass(frozen=True, slots=True)
class Fault:
    """One field that cannot be taken: a JSON pointer, a stable code and the reason."""

    pointer: str
    code: str
    detail: Text


class Refusal(Exception):  # noqa: N818 - the name of the fact
    """Base of all refusals: nothing was changed."""


class Invalid(Refusal):
    """Fields that are well formed but cannot be; all of them at once."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(", ".join(f"{fault.pointer}: {fault.code}" for fault in faults))
        self.faults = tuple(faults)


class Impossible(Refusal):
    """A request that makes sense but has no answer: `code` says why, `members` by how much."""

    def __init__(self, code: str, detail: Text, members: Mapping[str, object] | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail
        self.members = dict(members or {})


class AlreadyExists(Refusal):
    """The external id is taken, by `existing`."""

    def __init__(self, kind: str, external_id: str, existing: UUID) -> None:
        super().__init__(f"{kind} {external_id}")
        self.kind = kind
        self.external_id = external_id
        self.existing = existing


class Missing(Refusal):
    """There is no such thing, or it is out of the caller's sight."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Stale(Refusal):
    """The thing has another version than the caller's `If-Match` allows."""

    def __init__(self, version: int) -> None:
        super().__init__(str(version))
        self.version = version


class Unavailable(Refusal):
    """kpi could not be asked; the same request may succeed later."""
