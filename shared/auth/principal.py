"""The one who asks, as every service sees it."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["rep", "manager", "admin"]


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified caller. `person` is the id or external id that the token names; null for a machine or a pure admin.

    `scopes` (`<service>:read`, `<service>:write`) bound what an API key may do at all; null means no such bound.
    """

    subject: str
    role: Role
    person: str | None = None
    scopes: frozenset[str] | None = None

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"
