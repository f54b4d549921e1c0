"""Whose cells a scope adds up, and which scopes an owner's cells belong to."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kpi.domain.days import day_number
from services.kpi.store.numbers import ORGANISATION, known_owners
from shared.auth.directory import ResolvedScope, resolve_scope

FIRST_DAY, LAST_DAY = day_number(date.min), day_number(date.max)

# A team's members count for the teams above it too. UNION: teams that are each other's parents must not turn for ever.
_SCOPES_OF = text(
    """
    WITH RECURSIVE named AS (
        SELECT o.id AS owner, p.person_id
        FROM owner AS o JOIN directory_person AS p
          ON o.key = p.person_id::text OR o.key = 'external:' || p.external_id
        WHERE o.id = ANY(:owners)
    ), above AS (
        SELECT n.owner, m.team_id FROM named AS n JOIN directory_membership AS m USING (person_id)
        UNION
        SELECT a.owner, t.parent_id FROM above AS a JOIN directory_team AS t USING (team_id)
        WHERE t.parent_id IS NOT NULL
    )
    SELECT owner, 'person:' || person_id AS scope FROM named
    UNION SELECT owner, 'team:' || team_id FROM above
    UNION SELECT id, 'person:' || regexp_replace(key, '^external:', '') FROM owner WHERE id = ANY(:owners)
    """
)
_NAMES = text(
    """
    SELECT o.id, COALESCE(p.person_id::text, o.key) AS name
    FROM owner AS o LEFT JOIN directory_person AS p
      ON NOT p.deleted AND (o.key = p.person_id::text OR o.key = 'external:' || p.external_id)
    WHERE o.id = ANY(:owners)
    """
)
_OWNERS = text("SELECT id FROM owner ORDER BY id")


class Share(NamedTuple):
    """An owner's days `[first, last)` within a scope, as day numbers."""

    owner: int
    first: int
    last: int


EVERYBODY = (Share(ORGANISATION, FIRST_DAY, LAST_DAY),)


async def shares_of(tx: AsyncConnection, scopes: Iterable[ResolvedScope]) -> dict[str, tuple[Share, ...]]:
    """Return by scope whose cells count for it and when; owners without any cell are left out."""
    resolved = list(scopes)
    keys = {key for scope in resolved for member in scope.members for key in member.owner_keys}
    numbers = await known_owners(tx, keys) if keys else {}
    return {scope.scope: EVERYBODY if scope.is_organisation else _shares(scope, numbers) for scope in resolved}


def _shares(scope: ResolvedScope, numbers: Mapping[str, int]) -> tuple[Share, ...]:
    return tuple(
        Share(numbers[key], day_number(days.start), day_number(days.end))
        for member in scope.members
        for key in member.owner_keys
        if key in numbers
        for days in member.ranges
    )


def joined(scopes: Iterable[Sequence[Share]]) -> tuple[Share, ...]:
    """Return the union of scopes: an owner who belongs to several of them on a day counts once."""
    found: list[Share] = []
    for share in sorted({share for shares in scopes for share in shares}):
        if found and found[-1].owner == share.owner and share.first <= found[-1].last:
            found[-1] = found[-1]._replace(last=max(found[-1].last, share.last))
        else:
            found.append(share)
    return tuple(found)


async def shares_of_names(tx: AsyncConnection, scopes: Collection[str]) -> dict[str, tuple[Share, ...]]:
    """Return the shares of scopes by their canonical names; one that names nothing (any more) has none."""
    resolved = [await resolve_scope(tx, scope) for scope in sorted(scopes)]
    found = await shares_of(tx, [scope for scope in resolved if scope is not None])
    return {scope: found.get(scope, ()) for scope in scopes}


async def scopes_of(tx: AsyncConnection, owners: Sequence[int]) -> dict[int, set[str]]:
    """Return every scope, beside the organisation, that the cells of each owner may count for at some time."""
    found: dict[int, set[str]] = {owner: set() for owner in owners}
    for row in await tx.execute(_SCOPES_OF, {"owners": list(owners)}):
        found[row.owner].add(row.scope)
    return found


async def owner_names(tx: AsyncConnection, owners: Collection[int]) -> dict[int, str | None]:
    """Return how answers name owners: the person's id where it is known, else the owner key; null for nobody."""
    rows = await tx.execute(_NAMES, {"owners": list(owners)})
    return {row.id: row.name or None for row in rows}


async def all_owners(tx: AsyncConnection) -> tuple[Share, ...]:
    """Return every owner of any deal, each for all the time."""
    return tuple(Share(owner, FIRST_DAY, LAST_DAY) for owner in (await tx.execute(_OWNERS)).scalars())
