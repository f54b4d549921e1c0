"""What every kind of channel does, and what it is given to do it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from services.notify.domain.delivery import Outcome, Parcel
from shared.http_client import HttpClient

# Puts a parcel into the inbox of its recipient, once however often it is called.
Post = Callable[[Parcel], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Means:
    """What adapters work with; `timeout` bounds a whole attempt, `post` writes to the inbox."""

    http: HttpClient
    timeout: timedelta
    allow_private: bool
    post: Post


class ChannelAdapter(Protocol):
    """One kind of channel."""

    async def check(self, url: str | None) -> None:
        """Raise BadTarget when nothing may ever be sent to `url`."""
        ...

    async def send(self, parcel: Parcel) -> Outcome:
        """Try once to deliver; never raises for what the target does."""
        ...
