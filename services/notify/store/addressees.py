"""People and teams of the directory, as far as alerts need them to find whom to tell."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from sqlalchemy import Text, and_, cast, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notify.domain.addressees import Team
from services.notify.store.tables import metadata

_PERSON = metadata.tables["directory_person"]
_MEMBERSHIP = metadata.tables["directory_membership"]
_TEAM = metadata.tables["directory_team"]
_EXTERNAL = "external:"


@dataclass(frozen=True, slots=True)
class KnownPerson:
    """A person of the directory and the team of a day."""

    id: UUID
    team_id: UUID | None


async def people(tx: AsyncConnection, owner_keys: Collection[str], day: date) -> Mapping[str, KnownPerson]:
    """Return the known ones of `owner_keys`, by that key, with their team on `day`."""
    external = [key.removeprefix(_EXTERNAL) for key in owner_keys if key.startswith(_EXTERNAL)]
    at_day = and_(
        _MEMBERSHIP.c.person_id == _PERSON.c.person_id, _MEMBERSHIP.c.start_day <= day, _MEMBERSHIP.c.end_day > day
    )
    person_key = cast(_PERSON.c.person_id, Text)
    query = (
        select(_PERSON.c.person_id, _PERSON.c.external_id, _MEMBERSHIP.c.team_id)
        .select_from(_PERSON.outerjoin(_MEMBERSHIP, at_day))
        .where(~_PERSON.c.deleted, or_(person_key.in_(list(owner_keys)), _PERSON.c.external_id.in_(external)))
    )
    found: dict[str, KnownPerson] = {}
    for row in await tx.execute(query):
        known = KnownPerson(row.person_id, row.team_id)
        found[str(row.person_id)] = known
        found[_EXTERNAL + row.external_id] = known
    return found


async def teams(tx: AsyncConnection) -> Mapping[UUID, Team]:
    """Return the whole hierarchy of teams."""
    rows = await tx.execute(select(_TEAM.c.team_id, _TEAM.c.parent_id, _TEAM.c.manager_id).where(~_TEAM.c.deleted))
    return {row.team_id: Team(row.parent_id, row.manager_id) for row in rows}
