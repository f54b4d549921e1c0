"""The notify service's part of the environment."""

from datetime import timedelta

from pydantic import Field

from shared.settings import Settings


class NotifySettings(Settings):
    """How deliveries are tried: full-jitter back-off from `delivery_base` up to `delivery_cap`, then dead.

    A lease outlives an attempt, so that only a killed sender's delivery is taken by another one.
    """

    delivery_base: timedelta = timedelta(seconds=5)
    delivery_cap: timedelta = timedelta(minutes=15)
    delivery_attempts: int = Field(default=8, ge=1, le=50)
    delivery_within: timedelta = timedelta(hours=24)
    delivery_timeout: timedelta = timedelta(seconds=10)
    delivery_lease: timedelta = timedelta(seconds=30)
    delivery_at_once: int = Field(default=16, ge=1, le=200)
    delivery_at_once_per_target: int = Field(default=4, ge=1)
    names_kept_for: timedelta = timedelta(seconds=60)
