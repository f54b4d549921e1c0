"""Applies goals' events about people, teams and API keys to a service's directory: the newest version of each wins."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Protocol, TypeVar

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.events.base import Event, StateEvent
from shared.events.goals import ApiKeyChanged, PersonChanged, TeamChanged

S = TypeVar("S", bound=StateEvent)


class Delivered(Protocol):
    """The part of a bus delivery that matters here."""

    @property
    def event(self) -> Event: ...


_PEOPLE = text(
    """
    INSERT INTO directory_person AS known (person_id, external_id, role, version, deleted)
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:external_ids AS text[]), CAST(:roles AS text[]),
                         CAST(:versions AS bigint[]), CAST(:deleted AS boolean[]))
    ON CONFLICT (person_id) DO UPDATE
    SET external_id = excluded.external_id, role = excluded.role, version = excluded.version, deleted = excluded.deleted
    WHERE known.version < excluded.version
    RETURNING person_id
    """
)
_FORGET_MEMBERSHIPS = text("DELETE FROM directory_membership WHERE person_id = ANY(:ids)")
_MEMBERSHIPS = text(
    """
    INSERT INTO directory_membership (person_id, ordinal, team_id, start_day, end_day)
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:ordinals AS integer[]), CAST(:teams AS uuid[]),
                         CAST(:starts AS date[]), CAST(:ends AS date[]))
    """
)
_TEAMS = text(
    """
    INSERT INTO directory_team AS known (team_id, external_id, parent_id, manager_id, version, deleted)
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:external_ids AS text[]), CAST(:parents AS uuid[]),
                         CAST(:managers AS uuid[]), CAST(:versions AS bigint[]), CAST(:deleted AS boolean[]))
    ON CONFLICT (team_id) DO UPDATE
    SET external_id = excluded.external_id, parent_id = excluded.parent_id, manager_id = excluded.manager_id,
        version = excluded.version, deleted = excluded.deleted
    WHERE known.version < excluded.version
    """
)
_API_KEYS = text(
    """
    INSERT INTO directory_api_key AS known (key_id, hash, role, person, scopes, expires_at, version, deleted)
    SELECT id, hash, role, person, scopes::jsonb, expires_at, version, deleted
    FROM unnest(CAST(:ids AS uuid[]), CAST(:hashes AS text[]), CAST(:roles AS text[]), CAST(:persons AS text[]),
                CAST(:scopes AS text[]), CAST(:expiries AS timestamptz[]), CAST(:versions AS bigint[]),
                CAST(:deleted AS boolean[]))
         AS told (id, hash, role, person, scopes, expires_at, version, deleted)
    ON CONFLICT (key_id) DO UPDATE
    SET hash = excluded.hash, role = excluded.role, person = excluded.person, scopes = excluded.scopes,
        expires_at = excluded.expires_at, version = excluded.version, deleted = excluded.deleted
    WHERE known.version < excluded.version
    """
)


async def apply_people(tx: AsyncConnection, deliveries: Sequence[Delivered]) -> None:
    """Handle PersonChanged and TeamChanged: each row becomes its newest version; an older one changes nothing."""
    events = [delivery.event for delivery in deliveries]
    await _apply_teams(tx, _newest(event for event in events if isinstance(event, TeamChanged)))
    await _apply_persons(tx, _newest(event for event in events if isinstance(event, PersonChanged)))


async def apply_api_keys(tx: AsyncConnection, deliveries: Sequence[Delivered]) -> None:
    """Handle ApiKeyChanged: each row becomes its newest version; an older one changes nothing."""
    keys = _newest(delivery.event for delivery in deliveries if isinstance(delivery.event, ApiKeyChanged))
    if keys:
        columns = {
            "ids": [key.key_id for key in keys],
            "hashes": [key.hash for key in keys],
            "roles": [key.role for key in keys],
            "persons": [key.person for key in keys],
            "scopes": [msgspec.json.encode(key.scopes).decode() for key in keys],
            "expiries": [key.expires_at for key in keys],
            "versions": [key.version for key in keys],
            "deleted": [key.deleted for key in keys],
        }
        await tx.execute(_API_KEYS, columns)


def _newest(events: Iterable[S]) -> list[S]:
    """Return the newest event of each stream, sorted by stream: the order in which rows are locked."""
    newest: dict[str, S] = {}
    for event in events:
        if event.stream not in newest or newest[event.stream].version < event.version:
            newest[event.stream] = event
    return [newest[stream] for stream in sorted(newest)]


async def _apply_teams(tx: AsyncConnection, teams: Sequence[TeamChanged]) -> None:
    if teams:
        columns = {
            "ids": [team.team_id for team in teams],
            "external_ids": [team.external_id for team in teams],
            "parents": [team.parent_id for team in teams],
            "managers": [team.manager_id for team in teams],
            "versions": [team.version for team in teams],
            "deleted": [team.deleted for team in teams],
        }
        await tx.execute(_TEAMS, columns)


async def _apply_persons(tx: AsyncConnection, persons: Sequence[PersonChanged]) -> None:
    if not persons:
        return
    columns = {
        "ids": [person.person_id for person in persons],
        "external_ids": [person.external_id for person in persons],
        "roles": [person.role for person in persons],
        "versions": [person.version for person in persons],
        "deleted": [person.deleted for person in persons],
    }
    changed = set((await tx.execute(_PEOPLE, columns)).scalars())
    await tx.execute(_FORGET_MEMBERSHIPS, {"ids": list(changed)})
    rows = [
        (person.person_id, ordinal, held.team_id, held.start or date.min, held.end or date.max)
        for person in persons
        if person.person_id in changed
        for ordinal, held in enumerate(person.memberships)
    ]
    if rows:
        names = ("ids", "ordinals", "teams", "starts", "ends")
        await tx.execute(_MEMBERSHIPS, dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
