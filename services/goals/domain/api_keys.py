"""API keys of machines as goals owns them, and the event by which every service can verify them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from services.goals.domain.people import next_version
from services.goals.domain.refusal import Fault
from shared.events.goals import ApiKeyChanged, Role

Scope = Literal[
    "pipeline:read", "pipeline:write", "kpi:read", "kpi:write",
    "goals:read", "goals:write", "notify:read", "notify:write",
]  # fmt: skip
KeyState = Literal["active", "expired", "revoked"]

NOT_AHEAD = Fault("/expires_at", "not_in_the_future", {"zh": "须晚于现在", "en": "must be later than now"})
NO_PERSON = Fault(
    "/person",
    "required_for_role",
    {"zh": "rep 和 manager 角色的密钥须指明人员", "en": "a key of role rep or manager speaks for a person: name them"},
)
TWICE = Fault("/scopes", "repeated", {"zh": "不能重复", "en": "must not repeat"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key without its secret, of which `hash` is the SHA-256; `person` is an id or external id."""

    id: UUID
    name: str
    hash: str
    role: Role
    person: str | None
    scopes: tuple[Scope, ...]
    expires_at: datetime | None
    replaces: UUID | None
    created_by: str
    created_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None
    version: int

    def state_at(self, now: datetime) -> KeyState:
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"

    def revoked(self, now: datetime) -> "ApiKey":
        """Return the key as it is once taken back: for good."""
        return replace(self, revoked_at=now, version=next_version(self.version, now))

    def ending(self, now: datetime, overlap: timedelta) -> "ApiKey":
        """Return the key as it is once replaced: good for `overlap` more, never for longer than before."""
        end = now + overlap
        ends = end if self.expires_at is None else min(end, self.expires_at)
        return replace(self, expires_at=ends, version=next_version(self.version, now))

    def changed(self, recorded_at: datetime) -> ApiKeyChanged:
        """Return the event that tells this state; a tombstone once revoked."""
        return ApiKeyChanged(
            version=self.version,
            recorded_at=recorded_at,
            deleted=self.revoked_at is not None,
            key_id=self.id,
            hash=self.hash,
            role=self.role,
            person=self.person,
            scopes=self.scopes,
            expires_at=self.expires_at,
        )


def faults_of(
    role: Role, person: str | None, scopes: Sequence[Scope], expires_at: datetime | None, now: datetime
) -> list[Fault]:
    """Return everything that is wrong with a key that somebody wants."""
    faults = []
    if role != "admin" and person is None:
        faults.append(NO_PERSON)
    if len(set(scopes)) != len(scopes):
        faults.append(TWICE)
    if expires_at is not None and expires_at <= now:
        faults.append(NOT_AHEAD)
    return faults
