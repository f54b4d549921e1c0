"""What every kind of source must do: prove who sent a body, and tell what is in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from services.pipeline.domain.deal import Scalar
from services.pipeline.domain.mapping import Cells


class NotAuthentic(Exception):  # noqa: N818 - the name of the fact
    """A body whose sender cannot be proved: no signature, a wrong one, or one that is too old."""


@dataclass(frozen=True, slots=True)
class Told:
    """A body as its mapping reads it.

    `at` is the text of the time at which it happened (empty where the body does not say), `fields` are free fields
    that are taken as they are.
    """

    type: str
    cells: Cells
    at: str
    fields: Mapping[str, Scalar]


class SourceKind(Protocol):
    """One kind of source."""

    name: str
    # How a deal is mapped where the source itself says nothing else.
    mapping: Mapping[str, Any]

    def check_secret(self, secret: str) -> bool:
        """Tell whether `secret` is one that this kind can verify with."""
        ...

    def verify(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> str:
        """Return the sender's own id of the message, the same on each attempt; raises NotAuthentic."""
        ...

    def read(self, body: bytes) -> Told:
        """Return what a body tells; raises Rejected."""
        ...
