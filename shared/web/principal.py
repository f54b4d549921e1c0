"""Who asks: every route names its principal by one of these dependencies."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from shared.auth.api_keys import within
from shared.auth.authenticator import Authenticator
from shared.auth.principal import Principal
from shared.auth.refusal import TokenRefused
from shared.logging import get_logger
from shared.web.problems import Problem, forbidden

log = get_logger(__name__)


async def authenticate(request: Request) -> Principal:
    """Return the principal of the request's bearer token; raises 401, and 403 for a key beyond its scopes.

    For plain routes, and for the dependencies. A token that came before costs a look-up.
    """
    known: Principal | None = request.scope.get("principal")
    if known is not None:
        return known
    scheme, _, told = request.headers.get("authorization", "").partition(" ")
    token = told.strip()
    if scheme.lower() != "bearer" or not token:
        raise Problem(401, "unauthenticated", headers={"www-authenticate": "Bearer"})
    authenticator: Authenticator = request.app.state.authenticator
    try:
        principal = authenticator.known(token) or await authenticator.admit(token)
    except TokenRefused as refused:
        log.info("token_refused", reason=str(refused))
        raise Problem(401, "token_invalid", headers={"www-authenticate": 'Bearer error="invalid_token"'}) from None
    remember_principal(request, principal)
    if principal.scopes is not None:
        _stay_within(principal.scopes, request)
    return principal


def _stay_within(scopes: frozenset[str], request: Request) -> None:
    service: str = request.app.state.name
    # HEAD has become GET by now (RequestMiddleware).
    writes = request.method != "GET"
    if not within(scopes, service, writes=writes):
        raise insufficient_scope(f"{service}:{'write' if writes else 'read'}")


def insufficient_scope(needed: str | None) -> Problem:
    """403 `insufficient_scope`: the key is good and not for this; `scope` names what would be, if anything."""
    challenge = 'Bearer error="insufficient_scope"' + (f', scope="{needed}"' if needed else "")
    return Problem(403, "insufficient_scope", headers={"www-authenticate": challenge}, scope=needed)


def remember_principal(request: Request, principal: Principal) -> None:
    """Let the rest of the request (and the access log) know who asks."""
    request.scope["principal"] = principal


async def current_principal(request: Request) -> Principal:
    return await authenticate(request)


async def admin_only(request: Request) -> Principal:
    principal = await authenticate(request)
    if principal.role != "admin":
        raise forbidden()
    return principal


async def manager_or_admin(request: Request) -> Principal:
    principal = await authenticate(request)
    if principal.role not in ("manager", "admin"):
        raise forbidden()
    return principal


CurrentPrincipal = Annotated[Principal, Depends(current_principal)]
AdminOnly = Annotated[Principal, Depends(admin_only)]
ManagerOrAdmin = Annotated[Principal, Depends(manager_or_admin)]
