"""From the claims of a verified token to a principal: which claims tell it is a matter of the issuer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from shared.auth.principal import Principal, Role
from shared.auth.refusal import TokenRefused

LONGEST_SUBJECT = 255
# From the least to the most that a role may see.
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class ClaimPaths:
    """Where an issuer tells roles and person, as dotted paths: `realm_access.roles` is what Keycloak writes.

    A claim whose own name has dots (`https://sales.example/roles`) wins over the path. Without `roles` both `role` and
    `roles` are read.
    """

    roles: str | None = None
    person: str = "person"

    def principal_of(self, claims: Mapping[str, Any]) -> Principal:
        """Return the principal of verified claims; raises TokenRefused. The highest of several roles counts."""
        subject, person = claims.get("sub"), _at(claims, self.person)
        if not _is_name(subject) or not (person is None or _is_name(person)):
            message = "sub and person must be texts of at most 255 printable characters"
            raise TokenRefused(message)
        named = self._named(claims)
        roles = [role for role in ROLES if role in named]
        if not roles:
            message = "the token names no role of rep, manager, admin"
            raise TokenRefused(message)
        return Principal(str(subject), roles[-1], None if person is None else str(person))

    def _named(self, claims: Mapping[str, Any]) -> list[object]:
        if self.roles is not None:
            told = _at(claims, self.roles)
            return told if isinstance(told, list) else [told]
        several = claims.get("roles")
        return [claims.get("role"), *(several if isinstance(several, list) else [])]


def _at(claims: Mapping[str, Any], path: str) -> object:
    if path in claims:
        return claims[path]
    found: object = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_SUBJECT and value.isprintable()
