"""Who asks: every route names its principal by one of these dependencies."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from shared.auth.principal import Principal
from shared.auth.tokens import TokenRefused, TokenVerifier
from shared.logging import get_logger
from shared.web.problems import Problem, forbidden

log = get_logger(__name__)


def authenticate(request: Request) -> Principal:
    """Return the principal of the request's bearer token; raises 401. For plain routes, and for the dependencies."""
    known: Principal | None = request.scope.get("principal")
    if known is not None:
        return known
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Problem(401, "unauthenticated", headers={"www-authenticate": "Bearer"})
    verifier: TokenVerifier = request.app.state.verifier
    try:
        principal = verifier.verify(token.strip())
    except TokenRefused as refused:
        log.info("token_refused", reason=str(refused))
        raise Problem(401, "token_invalid", headers={"www-authenticate": 'Bearer error="invalid_token"'}) from None
    remember_principal(request, principal)
    return principal


def remember_principal(request: Request, principal: Principal) -> None:
    """Let the rest of the request (and the access log) know who asks."""
    request.scope["principal"] = principal


async def current_principal(request: Request) -> Principal:
    return authenticate(request)


async def admin_only(request: Request) -> Principal:
    principal = authenticate(request)
    if principal.role != "admin":
        raise forbidden()
    return principal


async def manager_or_admin(request: Request) -> Principal:
    principal = authenticate(request)
    if principal.role not in ("manager", "admin"):
        raise forbidden()
    return principal


CurrentPrincipal = Annotated[Principal, Depends(current_principal)]
AdminOnly = Annotated[Principal, Depends(admin_only)]
ManagerOrAdmin = Annotated[Principal, Depends(manager_or_admin)]
