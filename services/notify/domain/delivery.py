"""Delivering one transition of one alert to one target: states, retries and when to give up."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import msgspec

from services.notify.domain.alert import TransitionName

ChannelKind = Literal["webhook", "in_app"]
# failed: the last attempt did not succeed and another one is due; dead: nothing more happens by itself.
DeliveryState = Literal["pending", "sent", "failed", "dead"]


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try: the HTTP status where one came, the reason where it did not succeed."""

    at: datetime
    status: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One (alert, transition, target). `tries` counts leases since it was last put back, and fences a late sender."""

    id: UUID
    alert_id: UUID
    transition: TransitionName
    kind: ChannelKind
    channel_id: UUID | None
    recipient: str | None
    state: DeliveryState
    created_at: datetime
    next_at: datetime
    queued_at: datetime
    tries: int = 0
    attempts: tuple[Attempt, ...] = ()
    sent_at: datetime | None = None

    @property
    def target(self) -> str:
        """Who gets it, once per transition of an alert."""
        return f"person:{self.recipient}" if self.channel_id is None else f"channel:{self.channel_id}"

    @property
    def message_id(self) -> str:
        """The same on every attempt, so that a receiver can tell a repetition."""
        return f"msg_{self.id.hex}"


@dataclass(frozen=True, slots=True)
class Delivered:
    """The target took it."""

    status: int | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """It did not work, or nobody knows; a later attempt may."""

    reason: str
    status: int | None = None
    after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """It will never work; with `disable` the channel itself has ended."""

    reason: str
    status: int | None = None
    disable: bool = False


Outcome = Delivered | Retry | Refused


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Full-jitter exponential back-off."""

    base: timedelta = timedelta(seconds=5)
    cap: timedelta = timedelta(minutes=15)
    attempts: int = 8
    within: timedelta = timedelta(hours=24)

    def next_attempt(self, delivery: Delivery, outcome: Retry, now: datetime, jitter: float) -> datetime | None:
        """Return when to try again (`jitter` is random in [0, 1)); null when it is to be given up.

        A target that says when to come back is not asked earlier.
        """
        if delivery.tries >= self.attempts:
            return None
        ceiling = min(self.cap, self.base * 2 ** (delivery.tries - 1))
        at = now + max(ceiling * jitter, outcome.after or timedelta())
        return at if at <= delivery.queued_at + self.within else None


def after_attempt(
    delivery: Delivery, outcome: Outcome, now: datetime, policy: RetryPolicy, jitter: float
) -> tuple[DeliveryState, datetime]:
    """Return the state that an attempt leads to, and when the next one is due (`now` where there is none)."""
    if isinstance(outcome, Delivered):
        return "sent", now
    again = policy.next_attempt(delivery, outcome, now, jitter) if isinstance(outcome, Retry) else None
    return ("failed", again) if again else ("dead", now)


@dataclass(frozen=True, slots=True)
class Parcel:
    """What a channel is to bring to a target: an id that is the same on every attempt, and the content."""

    delivery: Delivery
    at: datetime
    body: bytes
    url: str | None = None
    secret: str | None = None
