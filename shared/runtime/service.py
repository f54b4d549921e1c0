"""A service as a value: what it serves, consumes and does by the clock; and what it is given to be built from."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from fastapi import FastAPI

from shared.auth.tokens import TokenVerifier
from shared.bus.subscription import Subscription
from shared.clock import Clock
from shared.db.engine import Database
from shared.http_client import HttpClient


@dataclass(frozen=True, slots=True)
class Peers:
    """Authenticated HTTP clients to the four services (in process in the embedded mode)."""

    pipeline: HttpClient
    kpi: HttpClient
    goals: HttpClient
    notify: HttpClient


@dataclass(frozen=True, slots=True)
class Resources:
    """What a service is built from; opened and closed by the runtime, never by the service."""

    database: Database
    peers: Peers
    http: HttpClient
    verifier: TokenVerifier
    clock: Clock


@dataclass(frozen=True, slots=True)
class Job:
    """A use case by the clock. Every replica runs it: it needs no lease, its rows are unique by key."""

    name: str
    every: timedelta
    run: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Loop:
    """A long-running task beside the consumers (announcer, sender): restarted with back-off when it fails.

    With `exclusive`, one replica of the service runs it at a time (session advisory lock in the service's database).
    """

    name: str
    run: Callable[[], Awaitable[None]]
    exclusive: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """Everything one service does; `run_services` runs one or four of them."""

    name: str
    app: FastAPI
    database: Database
    subscriptions: tuple[Subscription, ...] = ()
    jobs: tuple[Job, ...] = ()
    loops: tuple[Loop, ...] = ()

    def __post_init__(self) -> None:
        # Dead letters are replayed over HTTP by the subscription they belong to.
        self.app.state.subscriptions = self.subscriptions
