"""Who stands behind an owner key, as far as the directory knows."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, Text, Uuid, any_, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.store.tables import metadata
from shared.auth.directory import EXTERNAL

_person = metadata.tables["directory_person"]
_PEOPLE = select(_person.c.person_id, _person.c.external_id).where(
    ~_person.c.deleted,
    (_person.c.person_id == any_(bindparam("ids", type_=ARRAY(Uuid))))
    | (_person.c.external_id == any_(bindparam("external_ids", type_=ARRAY(Text)))),
)


class Owner(NamedTuple):
    """An owner by both of their ids, as far as they are known; `resolved` when the person is known here."""

    person_id: UUID | None
    external_id: str | None
    resolved: bool


async def describe_owners(tx: AsyncConnection, keys: Iterable[str | None]) -> Mapping[str, Owner]:
    """Return who is behind each owner key; one statement, none when there are no keys."""
    wanted = {key for key in keys if key is not None}
    if not wanted:
        return {}
    unknown = {key: unresolved(key) for key in wanted}
    ids = [owner.person_id for owner in unknown.values() if owner.person_id]
    external_ids = [owner.external_id for owner in unknown.values() if owner.external_id]
    rows = await tx.execute(_PEOPLE, {"ids": ids, "external_ids": external_ids})
    known = [Owner(row.person_id, row.external_id, True) for row in rows]
    return (
        unknown
        | {f"{EXTERNAL}{owner.external_id}": owner for owner in known}
        | {str(owner.person_id): owner for owner in known}
    )


def unresolved(key: str) -> Owner:
    """Return what a key alone tells of an owner."""
    if key.startswith(EXTERNAL):
        return Owner(None, key.removeprefix(EXTERNAL), False)
    return Owner(UUID(key), None, False)
