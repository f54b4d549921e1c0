"""What the routes of pipeline are given."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from services.pipeline.store.webhooks import Stored
from services.pipeline.use_cases.context import Context
from services.pipeline.use_cases.moves import MoveCommand, MoveOutcome, Replay
from services.pipeline.use_cases.webhooks import Received
from shared.db.batcher import WriteBatcher

MoveBatcher = WriteBatcher[MoveCommand, MoveOutcome | Replay]
WebhookBatcher = WriteBatcher[Received, Stored]


@dataclass(frozen=True, kw_only=True)
class ApiContext(Context):
    """The use cases' context, and the batchers behind moves and inbound webhooks."""

    moves: MoveBatcher
    webhooks: WebhookBatcher


def context(request: Request) -> ApiContext:
    """Return the context that the app was made with."""
    found: ApiContext = request.app.state.context
    return found


CurrentContext = Annotated[ApiContext, Depends(context)]
