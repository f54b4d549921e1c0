"""How routes reach what the service was built from."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from services.kpi.use_cases.context import Context


async def context(request: Request) -> Context:
    """Return the service's context."""
    found: Context = request.app.state.context
    return found


InContext = Annotated[Context, Depends(context)]
