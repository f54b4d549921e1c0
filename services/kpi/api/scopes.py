"""Row scope: which scopes a caller may ask about, and which are meant when none is named."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.store.scopes import Share, shares_of
from shared.auth.directory import ORGANISATION, ResolvedScope, can_see_scope, resolve_scope, visible
from shared.auth.principal import Principal
from shared.web.problems import not_found


async def visible_shares(
    tx: AsyncConnection, principal: Principal, asked: Sequence[str]
) -> dict[str, tuple[Share, ...]]:
    """Return whose cells each of `asked` means, by the caller's own words; raises 404 for what it may not see.

    Without any: the organisation for an admin, the managed teams for a manager, themselves for everybody else.
    """
    resolved = {scope: await _seen(tx, principal, scope) for scope in asked or await _own(tx, principal)}
    shares = await shares_of(tx, resolved.values())
    for scope in resolved.values():
        if _is_unheard_of(scope) and not shares[scope.scope]:
            raise not_found("scope")
    return {words: shares[scope.scope] for words, scope in resolved.items()}


async def canonical_scopes(tx: AsyncConnection, principal: Principal, asked: Sequence[str]) -> list[str]:
    """Return the canonical names of scopes; raises 404 for what the caller may not see."""
    scopes = [await _seen(tx, principal, scope) for scope in asked or await _own(tx, principal)]
    return [scope.scope for scope in scopes]


async def _seen(tx: AsyncConnection, principal: Principal, scope: str) -> ResolvedScope:
    resolved = await resolve_scope(tx, scope)
    if resolved is None or not await can_see_scope(tx, principal, scope):
        raise not_found("scope")
    return resolved


async def _own(tx: AsyncConnection, principal: Principal) -> list[str]:
    if principal.is_admin:
        return [ORGANISATION]
    if principal.role == "manager":
        teams = (await visible(tx, principal)).team_ids
        if teams:
            return [f"team:{team_id}" for team_id in teams]
    if principal.person is None:
        raise not_found("scope")
    return [f"person:{principal.person}"]


def _is_unheard_of(scope: ResolvedScope) -> bool:
    return any(member.person_id is None for member in scope.members)
