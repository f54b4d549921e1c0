"""What the routes of notify are given."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from services.notify.channels.channel import ChannelAdapter
from services.notify.domain.delivery import ChannelKind
from services.notify.use_cases.alerting import Alerting
from services.notify.use_cases.names import NameBook
from shared.clock import Clock
from shared.db.engine import Database, Signal
from shared.web.sse import Feed


@dataclass(frozen=True, slots=True)
class Context:
    """Everything a route may need; `wake` tells the sender that a delivery is due."""

    database: Database
    clock: Clock
    alerting: Alerting
    adapters: Mapping[ChannelKind, ChannelAdapter]
    names: NameBook
    wake: Signal
    inbox: Feed


def context(request: Request) -> Context:
    """Return the context that the app was made with."""
    found: Context = request.app.state.context
    return found


CurrentContext = Annotated[Context, Depends(context)]
