"""Whether a rule's people are concerned: its owner and scope filters, and what its author may see."""

from dataclasses import dataclass, field
from datetime import date
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notify.domain.conditions import DealCondition, KpiCondition
from services.notify.domain.rule import Rule
from shared.auth.directory import ResolvedScope, Visibility, owner_keys, resolve_scope, visible
from shared.auth.principal import Principal


@dataclass(slots=True)
class Reach:
    """Answers for one batch of events; what it asked the directory it remembers until the batch's end."""

    tx: AsyncConnection
    _scopes: dict[str, ResolvedScope | None] = field(default_factory=dict)
    _keys: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _sights: dict[str, Visibility] = field(default_factory=dict)

    async def concerns(self, rule: Rule, owner: str | None, scope: str, day: date) -> bool:
        """Tell whether `rule` is about something of `owner` in `scope` on `day`."""
        return (
            await self._is_owner(rule, owner)
            and await self._is_in_scope(rule, owner, scope, day)
            and await self._may_see(rule, owner, scope)
        )

    async def _is_owner(self, rule: Rule, owner: str | None) -> bool:
        if not isinstance(rule.condition, DealCondition) or rule.condition.where.owner is None:
            return True
        wanted = rule.condition.where.owner
        people = (wanted,) if isinstance(wanted, str) else wanted
        return owner is not None and any([owner in await self._owner_keys(person) for person in people])

    async def _is_in_scope(self, rule: Rule, owner: str | None, scope: str, day: date) -> bool:
        if isinstance(rule.condition, KpiCondition) or rule.condition.where.scope in (None, "org", scope):
            return True
        resolved = await self._scope(rule.scope)
        return resolved is not None and any(
            owner in member.owner_keys and any(start <= day < end for start, end in member.ranges)
            for member in resolved.members
        )

    async def _may_see(self, rule: Rule, owner: str | None, scope: str) -> bool:
        if rule.bounded_by is None:
            return True
        if rule.bounded_by not in self._sights:
            author = Principal(rule.created_by, "manager", rule.bounded_by)
            self._sights[rule.bounded_by] = await visible(self.tx, author)
        sight = self._sights[rule.bounded_by]
        kind, _, name = scope.partition(":")
        return owner in sight.owner_keys or (kind == "team" and UUID(name) in sight.team_ids)

    async def _owner_keys(self, person: str) -> tuple[str, ...]:
        if person not in self._keys:
            self._keys[person] = await owner_keys(self.tx, person)
        return self._keys[person]

    async def _scope(self, scope: str) -> ResolvedScope | None:
        if scope not in self._scopes:
            self._scopes[scope] = await resolve_scope(self.tx, scope)
        return self._scopes[scope]
