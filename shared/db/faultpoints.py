"""Named places where a test may end the process, or a part of it: around every commit, send and acknowledgement.

Nothing happens there unless a test arms them, in process or with FAULTPOINT=name:hit in a child's environment.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from pydantic_settings import BaseSettings

KILLED = 137

Action = Callable[[str], None]
Strike = Callable[[], object]


class Crashed(BaseException):
    """Stands for the death of the process: no code that handles errors may see it."""


class FaultpointSettings(BaseSettings):
    """FAULTPOINT="relay.sent:2" ends the process when it comes to that place for the second time."""

    environment: str = "development"
    faultpoint: str | None = None


_actions: list[Action] = []


def faultpoint(name: str) -> None:
    """Say that the process is at `name`; costs next to nothing while nothing is armed."""
    if _actions:
        for action in tuple(_actions):
            action(name)


def arm(name: str, hit: int, strike: Strike) -> Action:
    """Call `strike` at the `hit`-th (1, 2, ...) coming to `name`, until `disarm`."""
    left = hit

    def act(place: str) -> None:
        nonlocal left
        left -= place == name
        if place == name and left == 0:
            strike()

    _actions.append(act)
    return act


def disarm(action: Action) -> None:
    _actions.remove(action)


@contextmanager
def armed(name: str, hit: int, strike: Strike) -> Iterator[None]:
    """Be armed within the block."""
    action = arm(name, hit, strike)
    try:
        yield
    finally:
        disarm(action)


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Yield how often each place is come to within the block: the map of where to strike."""
    reached: Counter[str] = Counter()

    def count(place: str) -> None:
        reached[place] += 1

    _actions.append(count)
    try:
        yield reached
    finally:
        disarm(count)


def crash() -> NoReturn:
    """Strike by unwinding everything, as the death of the process would."""
    raise Crashed


def kill() -> NoReturn:
    """Strike as kill -9 does: no clean-up, no flush."""
    os._exit(KILLED)


def arm_from_environment() -> None:
    """Arm what FAULTPOINT names, for the life of the process; never in production. Raises ValueError."""
    settings = FaultpointSettings()
    if settings.faultpoint is not None and settings.environment != "production":
        name, _, hit = settings.faultpoint.partition(":")
        arm(name, int(hit or 1), kill)
