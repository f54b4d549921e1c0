"""A channel: a configured way out, of one kind."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.notify.domain.delivery import ChannelKind
from shared.events.base import Names


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel as it stands; `secret` never leaves the service after its creation."""

    id: UUID
    kind: ChannelKind
    name: str | Names | None
    url: str | None
    secret: str | None
    enabled: bool
    disabled_reason: str | None
    created_by: str
    created_at: datetime
    version: int
